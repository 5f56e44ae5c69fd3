import { readFile } from "node:fs/promises";
import path from "node:path";
import type { NbdServerTls } from "@blockmirror/nbd";
import { RequestError } from "../engine/request-error.ts";

/**
 * A server's certificates from a directory, by the names that QEMU uses: `server-cert.pem`, `server-key.pem` and, when
 * clients have to prove who they are, `ca-cert.pem`.
 * @throws RequestError naming the file that cannot be read.
 */
export async function readServerCredentials(directory: string): Promise<NbdServerTls> {
  const cert = await readPem(directory, "server-cert.pem");
  const key = await readPem(directory, "server-key.pem");
  const ca = await readPem(directory, "ca-cert.pem").catch(() => undefined);
  return { cert, key, ...(ca !== undefined && { ca, verifyClient: true }) };
}

async function readPem(directory: string, name: string): Promise<Buffer> {
  const file = path.join(directory, name);
  try {
    return await readFile(file);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new RequestError(`--tls-creds: ${file} cannot be read: ${why}`, { cause: error });
  }
}
