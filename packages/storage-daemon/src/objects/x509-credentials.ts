import { join } from "node:path";
import type tls from "node:tls";
import { commandError, type BlockType } from "@blockmirror/qmp";
import { secretText } from "./secret.ts";
import { messageOf, readCredential, type TlsCredentials } from "./tls-credentials.ts";

/**
 * Reads a directory in QEMU's layout: `ca-cert.pem`, and `server-cert.pem` with `server-key.pem` or `client-cert.pem` with
 * `client-key.pem`. A client may do without a certificate of its own.
 *
 * @param secret the content of the secret with that id.
 * @throws QmpError naming the file that is missing, or what is wrong with them.
 */
export async function loadX509(
  options: {
    readonly dir?: string;
    readonly endpoint?: BlockType<"QCryptoTLSCredsEndpoint">;
    readonly "verify-peer"?: boolean;
    readonly priority?: string;
    readonly passwordid?: string;
  },
  secret: (id: string) => Buffer,
): Promise<TlsCredentials> {
  const { dir, endpoint = "client", passwordid } = options;
  const verifyPeer = options["verify-peer"] ?? true;
  if (options.priority !== undefined)
    throw commandError("Parameter 'priority' is not supported; leave it out");
  if (dir === undefined) throw commandError("Missing 'dir' property value");
  if (endpoint === "client" && !verifyPeer) {
    throw commandError("Parameter 'verify-peer' cannot be off for a client: it would talk to anybody");
  }
  const ca = await readCredential(join(dir, "ca-cert.pem"));
  const password = passwordid === undefined ? undefined : secretText(passwordid, secret(passwordid));
  const passphrase = password === undefined ? {} : { passphrase: password };
  const read = (name: string): Promise<string> => readCredential(join(dir, name));
  if (endpoint === "server") {
    const own = { cert: await read("server-cert.pem"), key: await read("server-key.pem"), ...passphrase };
    check(dir, { ca, ...own });
    return { type: "tls-server", tls: { ca, ...own, verifyClient: verifyPeer } };
  }
  const cert = await read("client-cert.pem").catch(() => undefined);
  if (cert === undefined) check(dir, { ca });
  else check(dir, { ca, cert, key: await read("client-key.pem"), ...passphrase });
  return { type: "tls-client", tls: { directory: dir, ...passphrase } };
}

/** Finds a mistake before anybody connects. TLS is loaded by those who use it. */
function check(directory: string, options: tls.SecureContextOptions): void {
  try {
    process.getBuiltinModule("node:tls").createSecureContext(options);
  } catch (error) {
    throw commandError(`Unable to load the credentials in ${directory}: ${messageOf(error)}`);
  }
}
