import type { Socket } from "node:net";
import type tls from "node:tls";
import { nodeTls } from "../protocol/node-tls.ts";
import { PSK_CIPHERS, type PskKeys } from "../protocol/psk.ts";

/** A server that shows a certificate, and whom it trusts. All in PEM. */
export interface NbdServerCertificates {
  /** The server's certificate, with those that lead to its authority. */
  readonly cert: string | Buffer;
  /** The private key of the certificate. */
  readonly key: string | Buffer;
  /** What the private key is encrypted with. */
  readonly passphrase?: string;
  /** Certificates of the authorities that clients' certificates must come from. */
  readonly ca?: string | Buffer;
  /** Whether clients have to show a certificate of `ca`. Default false. */
  readonly verifyClient?: boolean;
  /** Whether clients must use TLS, or may. Default true. */
  readonly required?: boolean;
}

/** A server that shares a key with each of its clients: both sides prove that they have it. */
export interface NbdServerKeys {
  /** The key of each user, as `parsePskKeys` reads them. */
  readonly keys: PskKeys;
  /** Whether clients must use TLS, or may. Default true. */
  readonly required?: boolean;
}

/** How a server proves who it is, and whom it trusts. */
export type NbdServerTls = NbdServerCertificates | NbdServerKeys;

/**
 * Checks the credentials, so that a mistake is found before a client comes.
 * @throws TypeError when clients are to be verified by nobody, or there are no keys; an Error of OpenSSL for a bad certificate
 * or key.
 */
export function checkCredentials(credentials: NbdServerTls): void {
  if ("keys" in credentials) {
    if (credentials.keys.size === 0) throw new TypeError("`keys` needs the key of at least one user");
    return;
  }
  if (credentials.verifyClient === true && credentials.ca === undefined) {
    throw new TypeError("verifyClient needs `ca`, the authorities that clients' certificates come from");
  }
  nodeTls().createSecureContext(certificates(credentials));
}

/**
 * Takes the server's part of TLS on a socket whose client was told to begin.
 * @throws Error when the client fails to, or what it shows is not acceptable. The socket is destroyed then.
 */
export async function secure(socket: Socket, credentials: NbdServerTls): Promise<tls.TLSSocket> {
  // A server of its own for each connection: only a server checks clients' certificates, and this one says which client it was.
  const server = nodeTls().createServer({
    ...("keys" in credentials ? sharedKeys(credentials) : certificates(credentials)),
    allowHalfOpen: true,
  });
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => {
      socket.destroy();
      reject(error);
    };
    server.once("secureConnection", resolve);
    server.once("tlsClientError", fail);
    socket.once("close", () => reject(new Error("the client hung up while TLS was being set up")));
    server.emit("connection", socket);
  });
}

function certificates(credentials: NbdServerCertificates): tls.TlsOptions {
  return {
    cert: credentials.cert,
    key: credentials.key,
    ...(credentials.passphrase !== undefined && { passphrase: credentials.passphrase }),
    ...(credentials.ca !== undefined && { ca: credentials.ca }),
    requestCert: credentials.verifyClient === true,
    rejectUnauthorized: credentials.verifyClient === true,
  };
}

/** Without a certificate nobody gets in but by a key: a client that has none finds no suite that both can use. */
function sharedKeys({ keys }: NbdServerKeys): tls.TlsOptions {
  return {
    ciphers: PSK_CIPHERS,
    minVersion: "TLSv1.2",
    dhparam: "auto",
    pskCallback: (_socket, user) => keys.get(user) ?? null,
  };
}
