/**
 * The time that the terminal UI lives in. Injected so that tests (and recorded demonstrations) can own it;
 * no part of the UI reads the machine's clock by itself.
 */
export interface Clock {
  /** Milliseconds since the Unix epoch. Never goes back within one clock. */
  now(): number;
  /**
   * Calls `callback` once, not before `delayMs` milliseconds have passed. Returns the function that forgets the
   * timer; calling it after the timer fired does nothing.
   */
  schedule(delayMs: number, callback: () => void): () => void;
}

/** The machine's clock. Timers do not keep the process alive by themselves. */
export const systemClock: Clock = {
  now: () => Date.now(),
  schedule: (delayMs, callback) => {
    const timer = setTimeout(callback, delayMs).unref();
    return () => {
      clearTimeout(timer);
    };
  },
};

interface FakeTimer {
  readonly dueMs: number;
  readonly order: number;
  readonly callback: () => void;
}

/** A clock that stands still until told to advance. Timers fire in order of their due time, then of their creation. */
export class FakeClock implements Clock {
  #nowMs: number;
  #order = 0;
  readonly #timers = new Set<FakeTimer>();

  /** @param startMs - first value of {@link FakeClock.now}, milliseconds since the Unix epoch. */
  constructor(startMs: number = Date.UTC(2026, 0, 1)) {
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  schedule(delayMs: number, callback: () => void): () => void {
    const timer: FakeTimer = { dueMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, callback };
    this.#timers.add(timer);
    return () => {
      this.#timers.delete(timer);
    };
  }

  /** Number of timers not fired yet. */
  get pendingTimers(): number {
    return this.#timers.size;
  }

  /**
   * Moves the clock forward and fires every timer that falls due, including those scheduled by timers on the way.
   * @param ms - milliseconds, not negative.
   * @throws RangeError when `ms` is negative or not finite.
   */
  advance(ms: number): void {
    if (!Number.isFinite(ms) || ms < 0) {
      throw new RangeError(`a clock advances by a finite, non-negative number of milliseconds, not ${ms}`);
    }
    const untilMs = this.#nowMs + ms;
    for (let next = this.#nextDue(untilMs); next !== undefined; next = this.#nextDue(untilMs)) {
      this.#timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      next.callback();
    }
    this.#nowMs = untilMs;
  }

  #nextDue(untilMs: number): FakeTimer | undefined {
    let next: FakeTimer | undefined;
    for (const timer of this.#timers) {
      if (timer.dueMs > untilMs) continue;
      if (
        next === undefined ||
        timer.dueMs < next.dueMs ||
        (timer.dueMs === next.dueMs && timer.order < next.order)
      ) {
        next = timer;
      }
    }
    return next;
  }
}
