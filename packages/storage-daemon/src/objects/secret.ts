import { readFile } from "node:fs/promises";
import { commandError, type BlockType } from "@blockmirror/qmp";
import { messageOf } from "./tls-credentials.ts";

/** Something that only its user may see: a password, or the key of other secrets. */
export interface Secret {
  readonly type: "secret";
  readonly content: Buffer;
}

/** Options of an object `secret`. */
export interface SecretOptions {
  readonly data?: string;
  readonly file?: string;
  readonly format?: BlockType<"QCryptoSecretFormat">;
  readonly keyid?: string;
  readonly iv?: string;
}

/**
 * Makes a secret of what is given or in a file: as it is, or in base64; in the clear, or encrypted by AES-256-CBC with the
 * secret `keyid`.
 *
 * @param secret the content of the secret with that id.
 * @throws QmpError when something is missing, contradicts itself, or cannot be read or decoded. It never tells the content.
 */
export async function loadSecret(options: SecretOptions, secret: (id: string) => Buffer): Promise<Secret> {
  const { data, file, keyid, iv } = options;
  if (data === undefined && file === undefined) {
    throw commandError("Either 'file' or 'data' must be provided");
  }
  if (data !== undefined && file !== undefined)
    throw commandError("'file' and 'data' are mutually exclusive");
  if (keyid === undefined && iv !== undefined) throw commandError("'iv' needs 'keyid'");
  if (keyid !== undefined && iv === undefined) throw commandError("IV is required to decrypt secret");
  const given = file === undefined ? Buffer.from(data ?? "") : await read(file);
  const content = options.format === "base64" ? decode(given.toString("latin1")) : given;
  if (keyid === undefined || iv === undefined) return { type: "secret", content };
  return { type: "secret", content: decrypt(content, secret(keyid), decode(iv)) };
}

/** The text of a secret, for what takes text only. @throws QmpError when it is no UTF-8. */
export function secretText(id: string, content: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(content);
  } catch {
    throw commandError(`Data from secret ${id} is not valid UTF-8`);
  }
}

async function read(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw commandError(`Unable to read ${file}: ${messageOf(error)}`);
  }
}

/** Strict but for line ends; `Buffer` alone would skip what is no base64. */
function decode(text: string): Buffer {
  const digits = text.replaceAll(/[\r\n]/g, "");
  if (digits.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(digits)) {
    throw commandError("Base64 data contains invalid characters");
  }
  return Buffer.from(digits, "base64");
}

function decrypt(content: Buffer, key: Buffer, iv: Buffer): Buffer {
  if (key.byteLength !== 32) throw commandError("Key should be 32 bytes in length");
  if (iv.byteLength !== 16) throw commandError("IV should be 16 bytes in length");
  // Loaded for the first encrypted secret: most daemons have none, and loading it takes a good part of their start.
  const { createDecipheriv } = process.getBuiltinModule("node:crypto");
  const cipher = createDecipheriv("aes-256-cbc", key, iv);
  try {
    return Buffer.concat([cipher.update(content), cipher.final()]);
  } catch {
    throw commandError("The secret cannot be decrypted: its key or its 'iv' is another one");
  }
}
