/**
 * Whether the user means an export that is reached over NBD: by a URI, or as it was written before (`nbd:host:port:exportname=x`).
 * Told without loading what reaches it.
 */
export function isNbdUri(location: string): boolean {
  return /^nbds?(?:\+unix)?:\/\//iu.test(location) || /^nbd:[^/]/u.test(location);
}
