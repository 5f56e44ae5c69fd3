const FIRST_MS = 100;
const MAX_MS = 5000;

/**
 * Spaces out the retries of errors that the user wants ignored: 100 ms at first, twice as long each time, at most 5 s. An
 * error long after the last retry starts over, and so does one after something was copied: a disk that fails in places is not
 * gone, and all that is sound on it would wait with the rest.
 */
export class BackOff {
  #delayMs = 0;
  #copiedBytes = 0;
  #untilMs = Number.NEGATIVE_INFINITY;

  /**
   * Notes an error. Further ones before the retry change nothing: they are its echo.
   * @param copiedBytes - how much was copied so far.
   */
  fail(nowMs: number, copiedBytes: number): void {
    if (this.isWaiting(nowMs)) return;
    const hasCopied = copiedBytes > this.#copiedBytes;
    this.#copiedBytes = copiedBytes;
    const recent = this.#delayMs > 0 && !hasCopied && nowMs - this.#untilMs <= MAX_MS;
    this.#delayMs = recent ? Math.min(MAX_MS, this.#delayMs * 2) : FIRST_MS;
    this.#untilMs = nowMs + this.#delayMs;
  }

  /** Whether it is too early for a retry. */
  isWaiting(nowMs: number): boolean {
    return this.#untilMs > nowMs;
  }

  /** Milliseconds until the retry; 0 when it is due. */
  remainingMs(nowMs: number): number {
    return Math.max(0, this.#untilMs - nowMs);
  }
}
