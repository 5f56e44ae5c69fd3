/**
 * With so many large requests under way nothing stands idle, and beyond so many bytes each one only takes memory that no cache of
 * the processor holds any more: 16 requests of 256 KiB at a time were answered an eighth faster than 64.
 */
const ENOUGH_REQUESTS = 4;
const ENOUGH_BYTES: number = 4 * 1024 * 1024;

/** Storage that takes longer than this is waited for, and the more is asked of it at a time the less. In milliseconds. */
const SLOW_MS = 16;
/** It is slow if it has been for so long; a moment's pause proves nothing. */
const PROOF_MS = 100;
/** For so long it is taken to be slow, before it has to show that again. */
const SLOW_FOR_MS = 5000;

/**
 * How many large requests of a client are taken at a time: of storage that answers from memory as many as keep everybody busy, of
 * storage that has to be waited for as many as there is memory for. One for all clients of an export: they share the storage.
 */
export class Pace {
  #slowSinceMs: number | undefined;
  #slowUntilMs = 0;

  /** Whether one more is to be taken beside `requests`, which would then have `bytes` in all. */
  allows(requests: number, bytes: number, nowMs: number): boolean {
    return requests < ENOUGH_REQUESTS || bytes <= ENOUGH_BYTES || nowMs < this.#slowUntilMs;
  }

  /** A request for data has ended. */
  note(startedMs: number, nowMs: number): void {
    // What began beside more than is taken otherwise had to wait for that.
    if (startedMs < this.#slowUntilMs) return;
    if (nowMs - startedMs <= SLOW_MS) {
      this.#slowSinceMs = undefined;
      return;
    }
    this.#slowSinceMs ??= nowMs;
    if (nowMs - this.#slowSinceMs < PROOF_MS) return;
    this.#slowSinceMs = undefined;
    this.#slowUntilMs = nowMs + SLOW_FOR_MS;
  }
}
