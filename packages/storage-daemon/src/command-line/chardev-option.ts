import type { JsonObject } from "@blockmirror/qmp";
import type { ChardevOptions } from "../monitors/chardev.ts";
import type { ListenAddress } from "../monitors/listen.ts";
import { parseKeyval } from "./keyval.ts";
import { UsageError } from "./usage-error.ts";

const KNOWN: ReadonlySet<string> = new Set([
  "backend",
  "id",
  "path",
  "host",
  "port",
  "fd",
  "server",
  "wait",
  "mux",
  "reconnect",
]);

/**
 * Reads `--chardev socket,id=c,path=P,server=on,wait=off`, `--chardev socket,id=c,fd=3,server=on`,
 * `--chardev socket,id=c,host=H,port=N`, with `reconnect=SECONDS` for one that connects, and `--chardev stdio,id=c`.
 *
 * @throws UsageError
 */
export function parseChardev(text: string): { readonly id: string; readonly options: ChardevOptions } {
  const { value } = parseKeyval(text, "backend");
  const unknown = Object.keys(value).find((name) => !KNOWN.has(name));
  if (unknown !== undefined) throw new UsageError(`chardev: unknown parameter '${unknown}'`);
  const id = word(value, "id");
  if (id === undefined || id === "") throw new UsageError("chardev: parameter 'id' is missing");
  const backend = word(value, "backend");
  if (backend === "stdio") return { id, options: { kind: "stdio" } };
  if (backend !== "socket") {
    throw new UsageError(`chardev: backend '${backend ?? ""}' is not supported; there are socket and stdio`);
  }
  const address = socketAddress(value);
  const reconnect = word(value, "reconnect");
  if (onOff(value, "server", false)) {
    if (reconnect !== undefined) throw incompatible("reconnect", "socket in server listen mode");
    return { id, options: { kind: "server", address, wait: onOff(value, "wait", true) } };
  }
  if (value["wait"] !== undefined) throw incompatible("wait", "socket in client connect mode");
  if (reconnect !== undefined && "fd" in address) throw incompatible("reconnect", "'fd' address type");
  const seconds = reconnect === undefined ? 0 : number("reconnect", reconnect, 0, MAX_RECONNECT_S);
  return { id, options: { kind: "client", address, ...(seconds > 0 && { reconnectMs: seconds * 1000 }) } };
}

/** A day: what timers take, and more than anybody means. */
const MAX_RECONNECT_S = 86_400;

function incompatible(name: string, what: string): UsageError {
  return new UsageError(`chardev: parameter '${name}' is incompatible with ${what}`);
}

function socketAddress(value: JsonObject): ListenAddress {
  const [path, host, port, fd] = [
    word(value, "path"),
    word(value, "host"),
    word(value, "port"),
    word(value, "fd"),
  ];
  const ways = [path, port, fd].filter((way) => way !== undefined);
  if (ways.length !== 1) throw new UsageError("chardev: one of 'path', 'port' and 'fd' is needed");
  if (path !== undefined) {
    if (path === "") throw new UsageError("chardev: the path is empty");
    return { path };
  }
  if (fd !== undefined) return { fd: number("fd", fd, 0, 2 ** 31 - 1) };
  return { host: host ?? "localhost", port: number("port", port ?? "", 0, 65_535) };
}

function word(value: JsonObject, name: string): string | undefined {
  const given = value[name];
  if (given === undefined || typeof given === "string") return given;
  if (typeof given === "boolean") return given ? "on" : "off";
  if (typeof given === "number") return String(given);
  throw new UsageError(`chardev: parameter '${name}' is not text`);
}

function onOff(value: JsonObject, name: string, fallback: boolean): boolean {
  const given = word(value, name);
  if (given === undefined) return fallback;
  if (given !== "on" && given !== "off")
    throw new UsageError(`chardev: parameter '${name}' expects 'on' or 'off'`);
  return given === "on";
}

function number(name: string, text: string, low: number, high: number): number {
  const value = Number(text);
  if (!/^[0-9]+$/.test(text) || value < low || value > high) {
    throw new UsageError(`chardev: parameter '${name}' expects a number from ${low} to ${high}`);
  }
  return value;
}
