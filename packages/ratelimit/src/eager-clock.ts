import type { Clock } from "./clock.ts";

/**
 * A clock that nobody has to wait for; for tests. Its time moves only by its timers, each of which fires as soon as the
 * code that is ready has had its turn. So it tells afterwards how long all waits would have taken, and whatever takes
 * real time between them costs nothing.
 */
export class EagerClock implements Clock {
  #nowMs = 0;

  now(): number {
    return this.#nowMs;
  }

  schedule(delayMs: number, callback: () => void): () => void {
    const dueMs = this.#nowMs + Math.max(0, delayMs);
    const immediate = setImmediate(() => {
      this.#nowMs = Math.max(this.#nowMs, dueMs);
      callback();
    });
    return () => {
      clearImmediate(immediate);
    };
  }
}
