import { readFile } from "node:fs/promises";
import type { NbdServerTls, NbdTlsFiles } from "@blockmirror/nbd";
import { commandError } from "@blockmirror/qmp";

/** Credentials of one side of TLS, as the NBD server or the `nbd` driver takes them. */
export type TlsCredentials =
  | { readonly type: "tls-server"; readonly tls: NbdServerTls }
  | { readonly type: "tls-client"; readonly tls: NbdTlsFiles };

/** @throws QmpError that names the file. */
export async function readCredential(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw commandError(`Unable to access credentials: ${messageOf(error)}`);
  }
}

/** What to say of something thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
