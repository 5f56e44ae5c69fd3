import { type Clock, systemClock } from "./clock.ts";
import { type RateLimiter, requireBytes, requireSpeed, waitForLimiter } from "./limiter.ts";

/** Length of a slice when nothing else is asked for, milliseconds: QEMU's. */
export const DEFAULT_SLICE_MS = 100;

/** Settings of a {@link RateLimit}. */
export interface RateLimitOptions {
  /** Bytes per second; 0 = unlimited. Default 0. */
  readonly speed?: number;
  /** Slice length, milliseconds, positive. Default {@link DEFAULT_SLICE_MS}. */
  readonly sliceMs?: number;
  /** Default {@link systemClock}. */
  readonly clock?: Clock;
}

/**
 * A limit on bytes per second with proportional debt: the arithmetic of QEMU's modern rate limiter.
 *
 * Time is cut into slices, each with a quota of `speed x slice` bytes (whole bytes, at least 1). Charges up to the
 * quota pass; whoever reaches it makes the slice longer in proportion and waits for its end. So one large charge waits
 * exactly as long as its bytes take at the set speed, the average over any long busy time is the speed, and a burst is
 * bounded by one quota plus one charge. What a slice leaves unused is lost; idle time is never saved up.
 *
 * Two refinements, neither of which changes a result of the original arithmetic for punctual callers:
 *
 * - *Never negative.* A raised speed can put the slice's end into the past; that is no wait and the next charge starts
 *   afresh.
 * - *Late timers lose nothing.* A new slice starts when its first charge comes. A caller told to wait until the slice's
 *   end comes back a little after it, because timers are late, and that little would be missing from each slice. So
 *   when the last answer was a wait and the caller is back within one slice length of its end, the new slice starts
 *   at that end. Slices are then contiguous, which cannot exceed the speed; a caller who stays away longer was idle,
 *   and starts afresh.
 */
export class RateLimit implements RateLimiter {
  /** Slice length, milliseconds. */
  readonly sliceMs: number;
  readonly #clock: Clock;
  readonly #listeners = new Set<() => void>();
  #speed: number;
  /** Bytes a slice may carry; 0 = unlimited. */
  #quota: number;
  #startMs = -Infinity;
  #endMs = -Infinity;
  #dispatched = 0;
  /** The last answer was a wait until `#endMs`. */
  #awaited = false;

  /** @throws RangeError when a setting is out of range. */
  constructor(options: RateLimitOptions = {}) {
    const sliceMs = options.sliceMs ?? DEFAULT_SLICE_MS;
    if (!Number.isFinite(sliceMs) || sliceMs <= 0) {
      throw new RangeError(`a slice has a finite, positive number of milliseconds, not ${sliceMs}`);
    }
    this.sliceMs = sliceMs;
    this.#clock = options.clock ?? systemClock;
    this.#speed = options.speed ?? 0;
    requireSpeed(this.#speed);
    this.#quota = quotaOf(this.#speed, sliceMs);
  }

  /** Bytes per second; 0 = unlimited. Change it with {@link setSpeed}. */
  get speed(): number {
    return this.#speed;
  }

  /** Bytes that one slice may carry; 0 = unlimited. Whole, and at least 1 for any limited speed. */
  get quotaBytes(): number {
    return this.#quota;
  }

  /**
   * Changes the speed at once, for waiters too. What was charged in the current slice stays charged, at the new price:
   * doubling the speed halves the rest of the debt's time. Unlimited forgets it.
   *
   * @param bytesPerSec 0 = unlimited.
   * @throws RangeError when negative or not finite; nothing changes then.
   */
  setSpeed(bytesPerSec: number): void {
    requireSpeed(bytesPerSec);
    this.#speed = bytesPerSec;
    this.#quota = quotaOf(bytesPerSec, this.sliceMs);
    if (this.#quota === 0) {
      this.#startMs = -Infinity;
      this.#endMs = -Infinity;
      this.#dispatched = 0;
    } else {
      this.#measureSlice();
    }
    // The end has moved: coming back after it says nothing about late timers any more.
    this.#awaited = false;
    for (const listener of this.#listeners) listener();
  }

  account(bytes: number): number {
    requireBytes(bytes);
    if (this.#quota === 0) return 0;
    const nowMs = this.#clock.now();
    if (this.#endMs < nowMs) {
      const late = this.#awaited && nowMs - this.#endMs <= this.sliceMs;
      this.#startMs = late ? this.#endMs : nowMs;
      this.#dispatched = 0;
    }
    this.#dispatched += bytes;
    this.#measureSlice();
    this.#awaited = this.#dispatched >= this.#quota && this.#endMs >= nowMs;
    return this.#awaited ? this.#endMs - nowMs : 0;
  }

  delay(): number {
    return this.account(0);
  }

  wait(signal?: AbortSignal): Promise<void> {
    return waitForLimiter(this, this.#clock, signal);
  }

  onChange(listener: () => void): () => void {
    // A subscription of its own per call, even when the same function is given twice.
    const subscription = (): void => {
      listener();
    };
    this.#listeners.add(subscription);
    return () => {
      this.#listeners.delete(subscription);
    };
  }

  /** Excess makes the slice longer, in proportion; it is never shorter than its nominal length. */
  #measureSlice(): void {
    this.#endMs = this.#startMs + Math.max(1, this.#dispatched / this.#quota) * this.sliceMs;
  }
}

function quotaOf(speed: number, sliceMs: number): number {
  return speed === 0 ? 0 : Math.max(1, Math.trunc((speed * sliceMs) / 1000));
}
