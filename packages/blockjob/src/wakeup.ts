import type { Clock } from "@blockmirror/ratelimit";

/** One place where a job sleeps, with or without a timer, until something kicks it awake. */
export class Wakeup {
  readonly #clock: Clock;
  #wake: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Somebody sleeps here. */
  get isAsleep(): boolean {
    return this.#wake !== undefined;
  }

  /** Sleeps until kicked or, with `delayMs`, until then at the latest. One sleeper at a time. */
  sleep(delayMs: number | undefined): Promise<void> {
    if (this.#wake !== undefined) {
      throw new TypeError("the job sleeps already: await each sleep and pause point before the next one");
    }
    return new Promise<void>((resolve) => {
      const cancelTimer =
        delayMs === undefined ? undefined : this.#clock.schedule(delayMs, () => this.kick());
      this.#wake = () => {
        this.#wake = undefined;
        cancelTimer?.();
        resolve();
      };
    });
  }

  /** Ends the sleep; does nothing when nobody sleeps. */
  kick(): void {
    this.#wake?.();
  }
}
