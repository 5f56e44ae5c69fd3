import type { Socket } from "node:net";
import type tls from "node:tls";
import { nodeTls } from "../protocol/node-tls.ts";

/** How a server proves who it is, and whom it trusts. All in PEM. */
export interface NbdServerTls {
  /** The server's certificate, with those that lead to its authority. */
  readonly cert: string | Buffer;
  /** The private key of the certificate. */
  readonly key: string | Buffer;
  /** Certificates of the authorities that clients' certificates must come from. */
  readonly ca?: string | Buffer;
  /** Whether clients have to show a certificate of `ca`. Default false. */
  readonly verifyClient?: boolean;
  /** Whether clients must use TLS, or may. Default true. */
  readonly required?: boolean;
}

/**
 * Checks the credentials, so that a mistake is found before a client comes.
 * @throws TypeError when clients are to be verified by nobody; an Error of OpenSSL for a bad certificate or key.
 */
export function checkCredentials(credentials: NbdServerTls): void {
  if (credentials.verifyClient === true && credentials.ca === undefined) {
    throw new TypeError("verifyClient needs `ca`, the authorities that clients' certificates come from");
  }
  nodeTls().createSecureContext({
    cert: credentials.cert,
    key: credentials.key,
    ...(credentials.ca !== undefined && { ca: credentials.ca }),
  });
}

/**
 * Takes the server's part of TLS on a socket whose client was told to begin.
 * @throws Error when the client fails to, or its certificate is not acceptable. The socket is destroyed then.
 */
export async function secure(socket: Socket, credentials: NbdServerTls): Promise<tls.TLSSocket> {
  // A server of its own for each connection: only a server checks clients' certificates, and this one says which client it was.
  const server = nodeTls().createServer({
    cert: credentials.cert,
    key: credentials.key,
    ...(credentials.ca !== undefined && { ca: credentials.ca }),
    requestCert: credentials.verifyClient === true,
    rejectUnauthorized: credentials.verifyClient === true,
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
