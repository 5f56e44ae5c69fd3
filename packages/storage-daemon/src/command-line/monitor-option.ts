import { parseKeyval } from "./keyval.ts";
import { UsageError } from "./usage-error.ts";

/** A monitor as `--monitor` describes it. */
export interface MonitorOptions {
  /** Id of its character device. */
  readonly chardev: string;
  readonly pretty: boolean;
}

const KNOWN: ReadonlySet<string> = new Set(["chardev", "id", "mode", "pretty"]);

/** Reads `--monitor [chardev=]ID[,id=ID][,mode=control][,pretty=on]`. @throws UsageError */
export function parseMonitor(text: string): MonitorOptions {
  const { value } = parseKeyval(text, "chardev");
  const unknown = Object.keys(value).find((name) => !KNOWN.has(name));
  if (unknown !== undefined) throw new UsageError(`monitor: unknown parameter '${unknown}'`);
  const { chardev, mode = "control", pretty = "off" } = value;
  if (typeof chardev !== "string") throw new UsageError("monitor: parameter 'chardev' is missing");
  if (mode !== "control") throw new UsageError("monitor: only mode=control, which is QMP, is supported");
  if (pretty !== "on" && pretty !== "off" && typeof pretty !== "boolean") {
    throw new UsageError("monitor: parameter 'pretty' expects 'on' or 'off'");
  }
  return { chardev, pretty: pretty === "on" || pretty === true };
}
