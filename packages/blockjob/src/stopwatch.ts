import type { Clock } from "@blockmirror/ratelimit";

/** Time since a job started, and how much of it the job was parked in a pause. Stands still once stopped. */
export class Stopwatch {
  readonly #clock: Clock;
  #startMs: number | undefined;
  #stopMs: number | undefined;
  #pauseStartMs: number | undefined;
  #pausedMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  start(): void {
    this.#startMs = this.#clock.now();
  }

  stop(): void {
    this.#stopMs ??= this.#clock.now();
  }

  pause(): void {
    this.#pauseStartMs ??= this.#clock.now();
  }

  resume(): void {
    this.#pausedMs = this.pausedMs;
    this.#pauseStartMs = undefined;
  }

  /** Milliseconds from start to stop or now, pauses included. */
  get elapsedMs(): number {
    return this.#startMs === undefined ? 0 : (this.#stopMs ?? this.#clock.now()) - this.#startMs;
  }

  /** Milliseconds of {@link elapsedMs} spent paused. */
  get pausedMs(): number {
    const current = this.#pauseStartMs === undefined ? 0 : this.#clock.now() - this.#pauseStartMs;
    return this.#pausedMs + current;
  }
}
