import { isNbdUri, parseNbdUri } from "@blockmirror/nbd";
import { commandError, type JsonObject } from "@blockmirror/qmp";

/** `file:` may stand before any file name, so that one with a colon can be told from a protocol. */
const FILE = "file:";

/** What comes before the first colon is a protocol, unless it is a path. */
const PROTOCOL = /^([^/:]+):/u;

/**
 * The `blockdev-add` options of the node that a command's file name means: a file, or an export by its NBD URI, or as it was
 * written before there were URIs. Migration of storage names its target that way.
 *
 * @throws QmpError of class `GenericError` for any other protocol, and for an export that cannot be reached by its name alone.
 */
export function containerOptions(filename: string): JsonObject {
  if (isNbdUri(filename)) return exportOptions(filename);
  if (filename.startsWith(FILE)) return { driver: "file", filename: filename.slice(FILE.length) };
  const protocol = PROTOCOL.exec(filename)?.[1];
  if (protocol !== undefined) throw commandError(`Unknown protocol '${protocol}'`);
  return { driver: "file", filename };
}

function exportOptions(name: string): JsonObject {
  const { address, exportName, tls } = parsed(name);
  if (tls) {
    throw commandError(
      "TLS needs credentials, which a file name cannot give; use blockdev-add and blockdev-mirror",
    );
  }
  const server: JsonObject =
    "path" in address
      ? { type: "unix", path: address.path }
      : { type: "inet", host: address.host, port: String(address.port) };
  return { driver: "nbd", server, export: exportName };
}

function parsed(name: string): ReturnType<typeof parseNbdUri> {
  try {
    return parseNbdUri(name);
  } catch (error) {
    throw commandError(error instanceof Error ? error.message : String(error));
  }
}
