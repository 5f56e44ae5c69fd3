/**
 * The time a rate limit (or anything built on one) lives in. Injected, so that tests and simulations own it.
 *
 * Contract: `now` is monotonic; a callback given to `schedule` runs later, never inside the call of `schedule`, and may
 * run late (real timers do) but not so early that a caller who re-checks would spin.
 */
export interface Clock {
  /** Milliseconds from an arbitrary origin; fractions allowed; never goes back. */
  now(): number;
  /**
   * Calls `callback` once after `delayMs` milliseconds; 0 means "after other work that is ready had its turn".
   *
   * @param delayMs not negative; fractions allowed.
   * @returns the function that forgets the timer; harmless after the timer fired.
   */
  schedule(delayMs: number, callback: () => void): () => void;
}

/**
 * The longest delay a platform timer takes. Longer waits fire after this time and callers who re-check, as every
 * waiter of this package does, simply wait again.
 */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** The machine's monotonic clock. A pending timer keeps the process alive. */
export const systemClock: Clock = {
  now: () => performance.now(),
  schedule: (delayMs, callback) => {
    if (delayMs <= 0) {
      const immediate = setImmediate(callback);
      return () => {
        clearImmediate(immediate);
      };
    }
    // Platform timers cut fractions off, which would wake the caller just before its time; hence the rounding up.
    const timer = setTimeout(callback, Math.min(Math.ceil(delayMs), MAX_TIMER_MS));
    return () => {
      clearTimeout(timer);
    };
  },
};
