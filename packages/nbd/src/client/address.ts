import type { NbdAddress } from "../protocol/address.ts";

/** An address for messages and identities: `host:port`, or `unix:path`. */
export function describeAddress(address: NbdAddress): string {
  if ("path" in address) return `unix:${address.path}`;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return `${host}:${address.port}`;
}
