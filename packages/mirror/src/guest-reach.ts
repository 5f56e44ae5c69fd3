import { HBitmap } from "@blockmirror/hbitmap";

/** What is touched again within so many milliseconds counts once. */
const WINDOW_MS = 500;

/**
 * How much of the disk guests write to, in whole chunks and on whichever way they write: in background mode that much would
 * become dirty once it is copied. A chunk that is written to again and again counts once in a while.
 */
export class GuestReach {
  readonly #touched: HBitmap;
  #bytes = 0;
  #sinceMs = Number.NEGATIVE_INFINITY;

  constructor(size: number, granularity: number) {
    this.#touched = new HBitmap({ size, granularity });
  }

  /** Bytes of touched chunks so far; never fewer. */
  get bytes(): number {
    return this.#bytes;
  }

  /** A guest writes there. */
  touch(offset: number, length: number): void {
    const before = this.#touched.count;
    this.#touched.set(offset, length);
    this.#bytes += this.#touched.count - before;
  }

  /** Lets what was touched a while ago count anew. */
  note(nowMs: number): void {
    if (nowMs - this.#sinceMs < WINDOW_MS) return;
    this.#sinceMs = nowMs;
    this.#touched.resetAll();
  }
}
