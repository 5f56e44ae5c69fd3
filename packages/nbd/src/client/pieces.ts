/**
 * Most bytes of one read or write on the wire; longer ones become several, all of them in flight at once. Servers make a
 * buffer for each request, and buffers of a megabyte are taken from the operating system and given back every time: with
 * requests of 1 MiB qemu-nbd spends three quarters of its time on that (docs/decisions/0012-pieces-on-the-wire.md). A multiple
 * of every block size that a server may ask for.
 */
export const MAX_PIECE: number = 256 * 1024;

/** Offset and length of each piece of a range, cut where the size of a piece divides the offset. */
export function piecesOf(offset: number, length: number): (readonly [offset: number, length: number])[] {
  const pieces: (readonly [number, number])[] = [];
  const end = offset + length;
  for (let at = offset; at < end;) {
    const next = Math.min(end, at - (at % MAX_PIECE) + MAX_PIECE);
    pieces.push([at, next - at]);
    at = next;
  }
  return pieces;
}

/** Waits for all, then fails with the first failure: until then requests use the caller's buffers. */
export async function settleAll(parts: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(parts);
  for (const result of results) if (result.status === "rejected") throw result.reason;
}
