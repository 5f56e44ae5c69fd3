import { type Clock, systemClock } from "./clock.ts";
import { LeakyBucket } from "./leaky-bucket.ts";
import { requireBytes } from "./limiter.ts";
import {
  changeLimits,
  NO_THROTTLE_LIMITS,
  THROTTLE_RATES,
  type ThrottleLimits,
  type ThrottleRate,
} from "./throttle-limits.ts";

/** Which way a request moves data; what changes a disk without data, such as a discard, counts as a write. */
export type ThrottleDirection = "read" | "write";

/** Settings of a {@link Throttle}. */
export interface ThrottleOptions {
  /** Default: no limit. */
  readonly limits?: Partial<ThrottleLimits>;
  /** Default {@link systemClock}. */
  readonly clock?: Clock;
}

/** The part of a second that may be had at once of a rate without a burst, and of the rate during a long burst. */
const SLACK_SECONDS = 0.1;

/** The rates that a direction is subject to. */
const RATES: Readonly<Record<ThrottleDirection, readonly ThrottleRate[]>> = {
  read: ["bpsTotal", "bpsRead", "iopsTotal", "iopsRead"],
  write: ["bpsTotal", "bpsWrite", "iopsTotal", "iopsWrite"],
};

/** The buckets of one rate. */
interface Buckets {
  /** Leaks at the rate. */
  readonly average: LeakyBucket;
  /** Leaks at the rate of a burst: only there when bursts last longer than a second. */
  readonly burst: LeakyBucket | undefined;
}

/**
 * Limits on the bytes and the requests per second of block I/O, with bursts: the leaky buckets of QEMU's throttling.
 *
 * A pure state machine: it queues nothing and sets no timer. Ask {@link delay}, and when that is 0, {@link charge} the
 * request that is let through.
 *
 * Each rate `R` has a bucket that leaks `R` units a second, and a request may go while no bucket of its direction holds
 * more than its capacity; then the request is poured into all of them.
 *
 * - Without a burst the capacity is `R / 10`: a tenth of a second.
 * - With `max` and a length of `L` seconds it is `max * L`. For `L > 1` a second bucket, which leaks `max` a second and
 *   holds `max / 10`, keeps the burst itself at `max`.
 * - Bytes are the units of `bps`. The units of `iops` are requests; one of more than `iopsSize` bytes is
 *   `bytes / iopsSize` requests, fractions included.
 *
 * So from empty buckets at most `capacity + R * t` units plus one request go through in `t` seconds, and over a long busy
 * time the rate is `R`. A request larger than the capacity goes as one, and is paid for afterwards.
 */
export class Throttle {
  readonly #clock: Clock;
  readonly #buckets = new Map<ThrottleRate, Buckets>();
  #limits: ThrottleLimits;

  /** @throws RangeError when the limits are none: see {@link changeLimits}. */
  constructor(options: ThrottleOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#limits = changeLimits(NO_THROTTLE_LIMITS, options.limits ?? {});
    this.#fit(NO_THROTTLE_LIMITS);
  }

  get clock(): Clock {
    return this.#clock;
  }

  /** The limits in force. Change them with {@link setLimits}. */
  get limits(): ThrottleLimits {
    return this.#limits;
  }

  /**
   * Changes limits at once; those left out stay. The buckets of a rate whose limits stay the same keep what they hold. A
   * changed rate begins with what its bucket held, but not more than full: old debt is not paid at the new price.
   *
   * @throws RangeError when the limits that result are none; nothing changes then.
   */
  setLimits(change: Partial<ThrottleLimits>): void {
    const before = this.#limits;
    this.#limits = changeLimits(before, change);
    this.#fit(before);
  }

  /** How long to hold back the next request of that direction, milliseconds; 0 = it may go now. */
  delay(direction: ThrottleDirection): number {
    if (this.#buckets.size === 0) return 0;
    const nowMs = this.#clock.now();
    let delayMs = 0;
    for (const rate of RATES[direction]) {
      const buckets = this.#buckets.get(rate);
      if (buckets === undefined) continue;
      delayMs = Math.max(delayMs, buckets.average.delay(nowMs), buckets.burst?.delay(nowMs) ?? 0);
    }
    return delayMs;
  }

  /**
   * Charges one request that is let through, whether or not it should have waited.
   *
   * @param bytes that it moves or changes, not negative.
   * @throws RangeError when `bytes` is negative or not finite.
   */
  charge(direction: ThrottleDirection, bytes: number): void {
    requireBytes(bytes);
    if (this.#buckets.size === 0) return;
    const nowMs = this.#clock.now();
    const { iopsSize } = this.#limits;
    const requests = iopsSize > 0 ? Math.max(1, bytes / iopsSize) : 1;
    for (const rate of RATES[direction]) {
      const buckets = this.#buckets.get(rate);
      if (buckets === undefined) continue;
      const units = rate.startsWith("bps") ? bytes : requests;
      buckets.average.pour(units, nowMs);
      buckets.burst?.pour(units, nowMs);
    }
  }

  /** Makes the buckets fit the limits; `before` are those that the present ones fit. */
  #fit(before: ThrottleLimits): void {
    const limits = this.#limits;
    const nowMs = this.#clock.now();
    for (const rate of THROTTLE_RATES) {
      const [average, max, length] = [limits[rate], limits[`${rate}Max`], limits[`${rate}MaxLength`]];
      const stays =
        before[rate] === average && before[`${rate}Max`] === max && before[`${rate}MaxLength`] === length;
      if (stays) continue;
      if (average === 0) {
        this.#buckets.delete(rate);
        continue;
      }
      const old = this.#buckets.get(rate);
      const capacity = max > 0 ? max * length : average * SLACK_SECONDS;
      this.#buckets.set(rate, {
        average: refit(old?.average, average, capacity, nowMs),
        burst: length > 1 ? refit(old?.burst, max, max * SLACK_SECONDS, nowMs) : undefined,
      });
    }
  }
}

function refit(
  old: LeakyBucket | undefined,
  ratePerSec: number,
  capacity: number,
  nowMs: number,
): LeakyBucket {
  return new LeakyBucket(ratePerSec, capacity, nowMs, Math.min(old?.level(nowMs) ?? 0, capacity));
}
