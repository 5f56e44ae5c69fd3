/** The secret of each user, for TLS with pre-shared keys. */
export type PskKeys = ReadonlyMap<string, Uint8Array>;

/**
 * Suites that TLS libraries have in common for pre-shared keys, all with forward secrecy. Keys of these files go with SHA-256
 * in TLS 1.3, which leaves AES-256 out there. TLS 1.2 needs suites of its own, which Node leaves out unless they are named.
 */
export const PSK_CIPHERS: string = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-PSK-CHACHA20-POLY1305",
  "DHE-PSK-AES256-GCM-SHA384",
  "DHE-PSK-AES128-GCM-SHA256",
  "DHE-PSK-CHACHA20-POLY1305",
].join(":");

/** Longest user, and longest key, that OpenSSL takes in every version of Node there is; in bytes. */
const MAX_USER = 128;
const MAX_KEY = 256;

/**
 * Reads the keys of a file as `psktool` writes it, and as QEMU and libnbd read it: a line `user:key` for each user, with the
 * key in hexadecimal digits. Empty lines mean nothing.
 *
 * @throws SyntaxError that names the line, and never what a key is.
 */
export function parsePskKeys(text: string): PskKeys {
  const keys = new Map<string, Uint8Array>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "") continue;
    const refuse = (problem: string): never => {
      throw new SyntaxError(`line ${index + 1} ${problem}`);
    };
    const colon = line.indexOf(":");
    if (colon < 1) refuse("is not user:key");
    const user = line.slice(0, colon);
    const digits = line.slice(colon + 1).trim();
    if (Buffer.byteLength(user) > MAX_USER) refuse(`has a user of more than ${MAX_USER} bytes`);
    if (!/^(?:[\da-f]{2})+$/i.test(digits)) refuse("has a key that is not in pairs of hexadecimal digits");
    if (digits.length > 2 * MAX_KEY) refuse(`has a key of more than ${MAX_KEY} bytes`);
    if (keys.has(user)) refuse(`has the user '${user}' for the second time`);
    keys.set(user, Buffer.from(digits, "hex"));
  }
  if (keys.size === 0) throw new SyntaxError("there is no key in it");
  return keys;
}
