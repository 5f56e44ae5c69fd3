/**
 * What requests that settle at once may take of a turn of the event loop, all files together. A program that awaits one
 * such request after the other never leaves the turn by itself, and timers and sockets would wait for it for ever.
 */
export class TurnBudget {
  readonly #bytesPerTurn: number;
  readonly #schedule: (renew: () => void) => void;
  #left: number;
  #isSpent = false;

  /** `bytesPerTurn` may be copied on the main thread in one turn of the event loop; `schedule` calls back in the next one. */
  constructor(bytesPerTurn: number, schedule: (renew: () => void) => void = setImmediate) {
    this.#bytesPerTurn = bytesPerTurn;
    this.#schedule = schedule;
    this.#left = bytesPerTurn;
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
    this.#left = this.#bytesPerTurn;
    this.#isSpent = false;
  };
}
