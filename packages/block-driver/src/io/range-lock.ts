import { deferred } from "./deferred.ts";

/**
 * Serialises work on overlapping byte ranges, first come first served. Ranges that do not overlap never wait for each
 * other. Used where a request touches bytes outside its own range: read-modify-write, copy-on-write.
 */
export class RangeLock {
  readonly #held: HeldRange[] = [];

  /** Number of ranges that are held or waited for. */
  get size(): number {
    return this.#held.length;
  }

  /**
   * Resolves with the release function once no earlier overlapping range is held. `length` is at least 1 byte.
   * The returned function must be called exactly once.
   */
  async acquire(offset: number, length: number): Promise<() => void> {
    const end = offset + length;
    const earlier = this.#held.filter((range) => range.offset < end && offset < range.end);
    const { promise: released, resolve: release } = deferred();
    const mine: HeldRange = { offset, end, released };
    this.#held.push(mine);
    for (const range of earlier) await range.released;
    return () => {
      this.#held.splice(this.#held.indexOf(mine), 1);
      release();
    };
  }
}

interface HeldRange {
  readonly offset: number;
  readonly end: number;
  readonly released: Promise<void>;
}
