/** A clock and its alarms; a test brings its own. */
export interface NbdTimers {
  /** Milliseconds on a clock that never goes back. */
  now(): number;
  /** Calls `run` once after `delayMs`; the function returned calls it off. */
  after(delayMs: number, run: () => void): () => void;
}

/** The clock of the process. */
export const SYSTEM_TIMERS: NbdTimers = {
  now: () => performance.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs);
    return () => clearTimeout(timer);
  },
};
