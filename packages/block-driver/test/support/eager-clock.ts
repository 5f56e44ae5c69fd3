import type { Clock } from "@blockmirror/ratelimit";

/** A clock whose time moves only by its timers: each fires as soon as what is ready has had its turn. */
export class EagerClock implements Clock {
  #nowMs = 0;

  now(): number {
    return this.#nowMs;
  }

  schedule(delayMs: number, callback: () => void): () => void {
    const dueMs = this.#nowMs + delayMs;
    const immediate = setImmediate(() => {
      this.#nowMs = Math.max(this.#nowMs, dueMs);
      callback();
    });
    return () => clearImmediate(immediate);
  }
}
