import type tls from "node:tls";

/** TLS of Node, which brings OpenSSL along: loaded by the first connection that wants it, and by no other program. */
export function nodeTls(): typeof tls {
  return process.getBuiltinModule("node:tls");
}
