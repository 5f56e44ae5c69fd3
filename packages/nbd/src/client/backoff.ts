const FIRST_MS = 50;
const MOST_MS = 5000;

/** Waiting times between attempts: none before the first, then doubling from 50 ms to 5 s. */
export class Backoff {
  #next = 0;

  /** The wait before the next attempt, in milliseconds. */
  nextMs(): number {
    const wait = this.#next;
    this.#next = Math.min(MOST_MS, wait === 0 ? FIRST_MS : wait * 2);
    return wait;
  }

  /** The next attempt is a first one again. */
  reset(): void {
    this.#next = 0;
  }
}
