/** A turn, in milliseconds. */
const TURN_MS = 4;
/** Turns that guests have after each of the job's: while everything is copied once, and when that is done. */
const GUEST_TURNS = { first: 1, again: 2 } as const;
/** Guests that ask for less than this per second are served in passing. */
const BUSY_PER_SECOND = 1000;
/** And fewer requests than this say nothing about a rate. */
const FEWEST_REQUESTS = 8;
/** So long the job must be seen to fall behind, or to go on doing so, before the other way is tried. */
const PATIENCE_MS = 1000;
/** So long guests go first again when taking all did not help either; twice as long each time, up to the most. */
const MIN_RETRY_MS = 4000;
const MAX_RETRY_MS = 64_000;

/** Copy operations that a busy guest has beside it at a time. */
export const COURTEOUS_OPERATIONS = 4;

/**
 * Who goes first, busy guests or the copy. Guests do: the copy takes one turn of a few milliseconds in two, and one in three
 * once everything was copied, since what a guest dirties faster than it can be copied is copied for nothing. A job that falls
 * behind for a second tries whether all of the time is enough, until it has caught up; if it is not, guests go first again, for
 * longer each time.
 */
export class Courtesy {
  readonly #requests: () => number;
  #seen = 0;
  #seenAtMs = Number.NEGATIVE_INFINITY;
  #busy = false;
  #takesAll = false;
  #behindSinceMs: number | undefined;
  #nextTryAtMs = 0;
  #retryMs = MIN_RETRY_MS;

  /** `requests` tells how many requests guests have made so far. */
  constructor(requests: () => number) {
    this.#requests = requests;
  }

  /**
   * Notes how the job does: `behind` while guests dirty the source at least as fast as it is copied, `even` when next to nothing
   * is left to copy.
   */
  note(nowMs: number, standing: "behind" | "even" | undefined): void {
    if (standing === "even") {
      this.#takesAll = false;
      this.#retryMs = MIN_RETRY_MS;
    }
    if (standing !== "behind") {
      this.#behindSinceMs = undefined;
      return;
    }
    this.#behindSinceMs ??= nowMs;
    if (nowMs - this.#behindSinceMs < PATIENCE_MS) return;
    if (this.#takesAll) {
      this.#takesAll = false;
      this.#nextTryAtMs = nowMs + this.#retryMs;
      this.#retryMs = Math.min(MAX_RETRY_MS, this.#retryMs * 2);
    } else if (nowMs >= this.#nextTryAtMs) {
      this.#takesAll = true;
    } else {
      return;
    }
    this.#behindSinceMs = nowMs;
  }

  /**
   * Milliseconds until the turn of a copy that yields, `again` if everything was copied before; 0 while it lasts. Turns are by
   * the clock, so that the jobs of a process have theirs together and guests theirs undisturbed.
   */
  restMs(nowMs: number, again: boolean): number {
    const roundMs = TURN_MS * (1 + (again ? GUEST_TURNS.again : GUEST_TURNS.first));
    const sinceTurnMs = nowMs % roundMs;
    return sinceTurnMs < TURN_MS ? 0 : roundMs - sinceTurnMs;
  }

  /** Whether guests are busy and go first. Looks at their requests every few milliseconds, so it is to be asked often. */
  yields(nowMs: number): boolean {
    const elapsedMs = nowMs - this.#seenAtMs;
    if (elapsedMs >= TURN_MS) {
      const requests = this.#requests() - this.#seen;
      this.#busy = requests >= FEWEST_REQUESTS && requests * 1000 >= BUSY_PER_SECOND * elapsedMs;
      this.#seen += requests;
      this.#seenAtMs = nowMs;
    }
    return this.#busy && !this.#takesAll;
  }
}
