import type { Clock } from "./clock.ts";

/** Settings of a {@link FakeClock}. */
export interface FakeClockOptions {
  /** First value of {@link FakeClock.now}, milliseconds. Default 0. */
  readonly startMs?: number;
  /**
   * How late a timer fires, milliseconds; asked once per timer with its delay. Default: never late. Lets a test show
   * what inexact platform timers do.
   */
  readonly latenessMs?: (delayMs: number) => number;
  /**
   * Turns of the event loop granted between two timers, so that promises and immediates of the code under test have
   * run before time moves on. Default 1; raise it when that code does several hops of real asynchronous work per step.
   */
  readonly turnsPerStep?: number;
}

/** Turns of the event loop granted to real asynchronous work before `run` gives up on it. */
const IDLE_TURNS = 1000;

interface FakeTimer {
  readonly fireAtMs: number;
  readonly callback: () => void;
}

/**
 * A clock that stands still until told to advance; for tests. Timers fire in the order of their time, then of their
 * creation. Between timers the code under test gets its turns of the real event loop, so promise chains run to their
 * next wait before time moves.
 */
export class FakeClock implements Clock {
  readonly #timers = new Set<FakeTimer>();
  readonly #latenessMs: (delayMs: number) => number;
  readonly #turnsPerStep: number;
  #nowMs: number;

  constructor(options: FakeClockOptions = {}) {
    this.#nowMs = options.startMs ?? 0;
    this.#latenessMs = options.latenessMs ?? (() => 0);
    this.#turnsPerStep = options.turnsPerStep ?? 1;
  }

  now(): number {
    return this.#nowMs;
  }

  schedule(delayMs: number, callback: () => void): () => void {
    const delay = Math.max(0, delayMs);
    const timer: FakeTimer = {
      fireAtMs: this.#nowMs + delay + this.#latenessMs(delay),
      callback,
    };
    this.#timers.add(timer);
    return () => {
      this.#timers.delete(timer);
    };
  }

  /** Timers not fired yet. */
  get pendingTimers(): number {
    return this.#timers.size;
  }

  /** When the next timer fires, on this clock's scale, or `undefined` when none is pending. */
  get nextTimerMs(): number | undefined {
    return this.#next()?.fireAtMs;
  }

  /** Moves time forward without firing timers or granting turns: the caller was busy computing, or timers are late. */
  skip(ms: number): void {
    requireDuration(ms);
    this.#nowMs += ms;
  }

  /** Lets all code that is ready run, without moving time. @param turns turns of the event loop. Default: as configured. */
  async settle(turns: number = this.#turnsPerStep): Promise<void> {
    for (let turn = 0; turn < turns; turn += 1) {
      await new Promise<void>((resolve) => {
        setImmediate(resolve);
      });
    }
  }

  /**
   * Moves time forward by `ms`, firing every timer that falls due, including those scheduled on the way.
   *
   * @throws RangeError (rejection) when `ms` is negative or not finite.
   */
  async advance(ms: number): Promise<void> {
    requireDuration(ms);
    const untilMs = this.#nowMs + ms;
    await this.settle();
    for (let next = this.#next(); next !== undefined && next.fireAtMs <= untilMs; next = this.#next()) {
      this.#fire(next);
      await this.settle();
    }
    this.#nowMs = Math.max(this.#nowMs, untilMs);
  }

  /**
   * Moves time from timer to timer until `promise` settles, and answers like it.
   *
   * @param limitMs how far time may move, milliseconds. Default one day.
   * @throws Error (rejection) when no timer is left, or the limit is reached, before `promise` settles: the code under
   *   test waits for something that time alone does not bring.
   */
  async run<Value>(promise: Promise<Value>, limitMs: number = 86_400_000): Promise<Value> {
    requireDuration(limitMs);
    const watch = { settled: false };
    const markSettled = (): void => {
      watch.settled = true;
    };
    promise.then(markSettled, markSettled);
    const untilMs = this.#nowMs + limitMs;
    await this.settle();
    while (!watch.settled) {
      let next = this.#next();
      if (next === undefined) {
        // Real asynchronous work (a file read, say) may still bring a timer or the result.
        await this.settle(IDLE_TURNS);
        next = this.#next();
      }
      if (watch.settled) break;
      if (next === undefined) throw new Error("the promise did not settle and no timer is pending");
      if (next.fireAtMs > untilMs) throw new Error(`the promise did not settle within ${limitMs} ms`);
      this.#fire(next);
      await this.settle();
    }
    return promise;
  }

  #fire(timer: FakeTimer): void {
    this.#timers.delete(timer);
    this.#nowMs = Math.max(this.#nowMs, timer.fireAtMs);
    timer.callback();
  }

  #next(): FakeTimer | undefined {
    let next: FakeTimer | undefined;
    for (const timer of this.#timers) {
      // A set keeps insertion order, so among equals the oldest is met first.
      if (next === undefined || timer.fireAtMs < next.fireAtMs) next = timer;
    }
    return next;
  }
}

function requireDuration(ms: number): void {
  if (!Number.isFinite(ms) || ms < 0) {
    throw new RangeError(`a clock moves by a finite, non-negative number of milliseconds, not ${ms}`);
  }
}
