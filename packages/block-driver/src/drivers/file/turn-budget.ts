/** Bytes that may be copied on the main thread in one turn of the event loop: about a millisecond of it. */
const BYTES_PER_TURN = 256 * 1024;

/**
 * What requests that settle at once may take of a turn of the event loop, all files together. A program that awaits one
 * such request after the other never leaves the turn by itself, and timers and sockets would wait for it for ever.
 */
export class TurnBudget {
  readonly #schedule: (renew: () => void) => void;
  #left = BYTES_PER_TURN;
  #isSpent = false;

  /** `schedule` calls back in the next turn. */
  constructor(schedule: (renew: () => void) => void = setImmediate) {
    this.#schedule = schedule;
  }

  /** Takes `bytes` from this turn. Returns false, and takes nothing, when it has no more of them. */
  spend(bytes: number): boolean {
    if (bytes > this.#left) return false;
    this.#left -= bytes;
    if (!this.#isSpent) {
      this.#isSpent = true;
      this.#schedule(this.#renew);
    }
    return true;
  }

  readonly #renew = (): void => {
    this.#left = BYTES_PER_TURN;
    this.#isSpent = false;
  };
}
