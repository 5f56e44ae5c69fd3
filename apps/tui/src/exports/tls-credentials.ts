import { readFile } from "node:fs/promises";
import path from "node:path";
import { parsePskKeys, type NbdServerTls } from "@blockmirror/nbd";
import { RequestError } from "../engine/request-error.ts";

/**
 * A server's certificates from a directory, by the names that QEMU uses: `server-cert.pem`, `server-key.pem` and, when
 * clients have to prove who they are, `ca-cert.pem`.
 * @throws RequestError naming the file that cannot be read.
 */
export async function readServerCredentials(directory: string): Promise<NbdServerTls> {
  const read = (name: string): Promise<Buffer> => readFor("--tls-creds", path.join(directory, name));
  const cert = await read("server-cert.pem");
  const key = await read("server-key.pem");
  const ca = await read("ca-cert.pem").catch(() => undefined);
  return { cert, key, ...(ca !== undefined && { ca, verifyClient: true }) };
}

/**
 * The keys that a server shares with its users, from a file of lines `user:hexkey`.
 * @throws RequestError when it cannot be read, or says something else.
 */
export async function readServerKeys(file: string): Promise<NbdServerTls> {
  const text = (await readFor("--tls-psk", file)).toString();
  try {
    return { keys: parsePskKeys(text) };
  } catch (error) {
    throw new RequestError(`--tls-psk: ${file}: ${messageOf(error)}`, { cause: error });
  }
}

async function readFor(option: string, file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new RequestError(`${option}: ${file} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
