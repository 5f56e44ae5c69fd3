import { join } from "node:path";
import type { PskKeys } from "@blockmirror/nbd";
import { commandError, type BlockType } from "@blockmirror/qmp";
import { messageOf, readCredential, type TlsCredentials } from "./tls-credentials.ts";

/** Whose key a client takes when nobody says. */
const DEFAULT_USER = "qemu";

/**
 * Reads `keys.psk`, lines `user:hexkey`. A client takes the key of one user, `qemu` by default; a server has them all.
 *
 * @throws QmpError naming the file that is missing or wrong, or the user that is not in it.
 */
export async function loadPsk(options: {
  readonly dir?: string;
  readonly endpoint?: BlockType<"QCryptoTLSCredsEndpoint">;
  readonly priority?: string;
  readonly username?: string;
}): Promise<TlsCredentials> {
  const { dir, endpoint = "client", username } = options;
  if (options.priority !== undefined)
    throw commandError("Parameter 'priority' is not supported; leave it out");
  if (dir === undefined) throw commandError("Missing 'dir' property value");
  if (endpoint === "server" && username !== undefined) {
    throw commandError("username should not be set when endpoint=server");
  }
  const file = join(dir, "keys.psk");
  const keys = await parse(file, await readCredential(file));
  if (endpoint === "server") return { type: "tls-server", tls: { keys } };
  const user = username ?? DEFAULT_USER;
  if (!keys.has(user)) throw commandError(`Username ${user} not found in PSK file ${file}`);
  return { type: "tls-client", tls: { pskFile: file, username: user } };
}

async function parse(file: string, text: string): Promise<PskKeys> {
  const { parsePskKeys } = await import("@blockmirror/nbd");
  try {
    return parsePskKeys(text);
  } catch (error) {
    throw commandError(`PSK file ${file}: ${messageOf(error)}`);
  }
}
