import type { NbdTlsFiles } from "@blockmirror/nbd";
import { commandError, isJsonObject, type JsonObject, type JsonValue } from "@blockmirror/qmp";

/** QMP counts in seconds. */
const MS_PER_SECOND = 1000;

/**
 * The `nbd` driver's options: a socket address and seconds, where ours has an address of its own and milliseconds.
 *
 * @param credentials the client's credentials with that id.
 * @throws QmpError of class `GenericError` for what the client cannot do.
 */
export function nbdOptions(
  options: JsonObject,
  credentials: (id: string) => NbdTlsFiles,
): Readonly<Record<string, unknown>> {
  refuseOtherStatus(options["x-dirty-bitmap"]);
  const { "tls-creds": id, "tls-hostname": serverName } = options;
  if (serverName !== undefined && id === undefined) {
    throw commandError("Parameter 'tls-hostname' needs 'tls-creds'");
  }
  const reconnect = options["reconnect-delay"];
  const open = options["open-timeout"];
  return {
    server: serverAddress(options["server"]),
    export: options["export"] ?? "",
    // Without a delay a lost server fails requests at once, as clients of QMP expect.
    reconnectDelayMs: milliseconds(reconnect) ?? 0,
    ...(typeof id === "string" ? { tls: tlsOptions(credentials(id), serverName) } : {}),
    ...(open === undefined || open === 0 ? {} : { openTimeoutMs: milliseconds(open) }),
  };
}

/** The context that block status comes from in any case. */
const BASE_ALLOCATION = "base:allocation";

/**
 * With a bitmap for its block status, a node says of dirty ranges that they are holes, since the bits of both contexts mean
 * what they mean. A mirror of such a node would leave out exactly what was written.
 */
function refuseOtherStatus(context: JsonValue | undefined): void {
  if (context === undefined || context === BASE_ALLOCATION) return;
  throw commandError(
    `Parameter 'x-dirty-bitmap' accepts '${BASE_ALLOCATION}' only: with another block status, jobs would take what is dirty for holes and not copy it; leave it out, and read the bitmap with 'blockmirror map --bitmap' or 'qemu-img map'`,
  );
}

/** Who has a key has no name to be checked. */
function tlsOptions(files: NbdTlsFiles, serverName: JsonValue | undefined): NbdTlsFiles {
  return typeof serverName === "string" && files.pskFile === undefined ? { ...files, serverName } : files;
}

function milliseconds(seconds: JsonValue | undefined): number | undefined {
  return typeof seconds === "number" ? seconds * MS_PER_SECOND : undefined;
}

function serverAddress(server: JsonValue | undefined): object {
  const address = isJsonObject(server) ? server : {};
  if (address["type"] === "unix") {
    if (address["abstract"] === true) throw commandError("Abstract sockets are not supported; use a path");
    return { path: address["path"] };
  }
  if (address["type"] === "inet") {
    const port = Number(address["port"]);
    if (!Number.isInteger(port) || port < 1 || port > 65_535) {
      throw commandError("Parameter 'server.port' expects a number from 1 to 65535");
    }
    return { host: address["host"], port };
  }
  throw commandError("Parameter 'server.type' does not support this kind of address; use unix or inet");
}
