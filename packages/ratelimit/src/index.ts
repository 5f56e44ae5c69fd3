/**
 * Limits on bytes per second: slices of 100 ms, proportional debt, live speed changes, and one limit shared by several
 * users; and limits on the bytes and requests per second of block I/O, with bursts.
 *
 * @packageDocumentation
 */
export { type Clock, systemClock } from "./clock.ts";
export { EagerClock } from "./eager-clock.ts";
export { FakeClock, type FakeClockOptions } from "./fake-clock.ts";
export type { RateLimiter } from "./limiter.ts";
export { DEFAULT_SLICE_MS, RateLimit, type RateLimitOptions } from "./rate-limit.ts";
export { Throttle, type ThrottleDirection, type ThrottleOptions } from "./throttle.ts";
export {
  changeLimits,
  MAX_BURST_SECONDS,
  MAX_THROTTLE_RATE,
  NO_THROTTLE_LIMITS,
  THROTTLE_RATES,
  type ThrottleLimits,
  type ThrottleRate,
  type ThrottleScope,
  type ThrottleUnit,
} from "./throttle-limits.ts";
export { type MemberOptions, RateLimitMember, SharedRateLimit } from "./shared-rate-limit.ts";
