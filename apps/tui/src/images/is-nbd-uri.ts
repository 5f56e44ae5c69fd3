/** Whether the user means an export that is reached over NBD. Told without loading what reaches it. */
export function isNbdUri(location: string): boolean {
  return /^nbds?(?:\+unix)?:\/\//iu.test(location);
}
