import type { CopyEngine } from "./copy-engine.ts";
import type { GuestTurn } from "./in-flight-set.ts";

/** The chunks `[start, stop)` that a guest's change has for itself, or waits for. */
export interface Turn {
  readonly start: number;
  readonly stop: number;
  readonly claim: GuestTurn;
  /** Who waits for this one. */
  readonly waiters: (() => void)[];
  hasLeft: boolean;
}

/** What {@link ChunkTurns} works on. */
export interface ChunkTurnsInit {
  readonly engine: CopyEngine;
  /** Whether anything is still to be waited for: the job has neither failed nor been thrown away. */
  readonly follows: () => boolean;
  /** Told that chunks which a guest had for itself can be copied again. */
  readonly onLeave: () => void;
}

/**
 * Who changes or copies which chunks: guests whose changes go to both sides take turns with one another and with the copy
 * operations. Whoever waits is waited for by nobody earlier, so no two wait for each other.
 */
export class ChunkTurns {
  readonly #init: ChunkTurnsInit;
  readonly #turns = new Set<Turn>();
  /** Requests that wait for the target, or for a copy to it. */
  readonly #waiting = new Set<() => void>();

  constructor(init: ChunkTurnsInit) {
    this.#init = init;
  }

  /** Whether nobody has or waits for a part of `[start, stop)`. */
  isFree(start: number, stop: number): boolean {
    for (const turn of this.#turns) if (turn.start < stop && start < turn.stop) return false;
    return !this.#init.engine.inFlight.isCopying(start, stop - start);
  }

  /** Takes the next turn in `[start, stop)`: from now on no copy begins there, and later guests wait. */
  take(start: number, stop: number): Turn {
    const claim = this.#init.engine.inFlight.enterGuest(start, stop - start);
    const turn: Turn = { start, stop, claim, waiters: [], hasLeft: false };
    this.#turns.add(turn);
    return turn;
  }

  /** Waits for the guests that came before, then for the copies that run. Called as soon as the turn was taken. */
  async wait(turn: Turn): Promise<void> {
    const earlier = [...this.#turns].filter(
      (other) => other !== turn && other.start < turn.stop && turn.start < other.stop,
    );
    for (const other of earlier) {
      if (!other.hasLeft) await new Promise<void>((resolve) => other.waiters.push(resolve));
    }
    await this.unlessGivenUp(this.#init.engine.waitForRange(turn.start, turn.stop - turn.start));
  }

  /** Ends a turn. */
  leave(turn: Turn): void {
    turn.hasLeft = true;
    this.#turns.delete(turn);
    this.#init.engine.inFlight.leaveGuest(turn.claim);
    for (const resolve of turn.waiters) resolve();
    this.#init.onLeave();
  }

  /** Nobody waits for the target any longer. `follows` says so from now on. */
  giveUp(): void {
    for (const goOn of this.#waiting) goOn();
  }

  /** Waits for what the target does; false when the job was given up first: a target that hangs must not keep guests. */
  unlessGivenUp(work: Promise<void>): Promise<boolean> {
    return new Promise((resolve, reject) => {
      const goOn = (): void => {
        this.#waiting.delete(goOn);
        resolve(false);
      };
      this.#waiting.add(goOn);
      work.then(
        () => {
          this.#waiting.delete(goOn);
          resolve(true);
        },
        (error: unknown) => {
          this.#waiting.delete(goOn);
          reject(error);
        },
      );
      if (!this.#init.follows()) goOn();
    });
  }
}
