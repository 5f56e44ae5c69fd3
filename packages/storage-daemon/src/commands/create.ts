import {
  commandError,
  isJsonObject,
  type BlockCommands,
  type CommandHandlers,
  type JsonObject,
  type JsonValue,
} from "@blockmirror/qmp";
import type { DaemonParts } from "./daemon-parts.ts";
import { jobOptions } from "../jobs/job-arguments.ts";
import { camelCase, toDeviceSpec, type OptionsContext } from "../nodes/node-options.ts";
import { refuseOpenImage } from "../nodes/open-image.ts";
import { safeInteger } from "../safe-integer.ts";
import { registeredName } from "../schema/driver-types.ts";

/** Creating images, as a job: it has to be dismissed, and what went wrong is its `error`. */
export function createCommands({ jobs, graph, nodes }: DaemonParts): CommandHandlers<BlockCommands> {
  return {
    "blockdev-create": (args) => {
      jobs.mustBeOpen();
      const { id } = jobOptions({ "job-id": args["job-id"] }, jobs.manager);
      const { driver } = args.options;
      const job = jobs.manager.create(
        {
          type: "create",
          run: async (control) => {
            if (args.options.driver === "file") await refuseOpenImage(graph, args.options.filename);
            const { context, end } = nodes.beginChange();
            try {
              const options = createOptions(driver, args.options, context);
              await graph.create(registeredName(driver), options, control.forceCancelSignal);
            } finally {
              end();
            }
            control.setProgress(1, 1);
          },
        },
        { id, autoDismiss: false },
      );
      jobs.register(job, { isBlockJob: false });
      job.start();
    },
  };

  /** The options under the names that the drivers know; children are translated like those of `blockdev-add`. */
  function createOptions(
    driver: string,
    options: JsonObject,
    context: OptionsContext,
  ): Readonly<Record<string, unknown>> {
    const { createOptions: schema } = graph.registry.get(registeredName(driver));
    const translated: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(options)) {
      if (name === "driver" || value === undefined) continue;
      if (IGNORED.has(name)) continue;
      const known = (RENAMED[name] ?? [name, camelCase(name)]).find((each) =>
        Object.hasOwn(schema?.fields ?? {}, each),
      );
      if (known === undefined) throw commandError(`Parameter '${name}' is not supported; leave it out`);
      translated[known] = convert(name, value, context);
    }
    // QEMU creates over what is there.
    if (driver === "file") translated["overwrite"] = true;
    return translated;
  }

  function convert(name: string, value: JsonValue, context: OptionsContext): unknown {
    if (name === "file" || name === "data-file") {
      return isJsonObject(value)
        ? toDeviceSpec(value, context)
        : nodes.find(typeof value === "string" ? value : "").name;
    }
    return typeof value === "bigint" ? safeInteger(name, value) : value;
  }
}

/** Hints of file systems that have no effect here. */
const IGNORED: ReadonlySet<string> = new Set(["nocow", "extent-size-hint"]);

/** Names of create options that differ by more than their spelling. */
const RENAMED: Readonly<Record<string, readonly string[]>> = {
  "backing-fmt": ["backingFormat", "backingFmt"],
  "backing-file": ["backingFile", "backing"],
};
