import type { Duplex } from "node:stream";

/** How long a client may take to hang up, after everything was said, in milliseconds. */
export const LINGER_MS = 2000;

/**
 * Lets what was said arrive, then hangs up: when the client does, or after `mostMs` at the latest; one that neither reads nor
 * leaves would hold its connection for ever. With 0 it is not waited for.
 *
 * Whatever it still sends is dropped as it comes, so nobody may listen for it any more. A socket that is closed with bytes unread,
 * or gets more afterwards, is reset, and the client loses the answers that are on their way to it.
 */
export function hangUp(socket: Duplex, mostMs: number): void {
  socket.resume();
  if (mostMs <= 0) {
    socket.end(() => socket.destroy());
    return;
  }
  const deadline = setTimeout(() => socket.destroy(), mostMs);
  socket.once("close", () => clearTimeout(deadline));
  socket.end();
}
