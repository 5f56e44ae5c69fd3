/**
 * Limits on bytes per second: slices of 100 ms, proportional debt, live speed changes, and one limit shared by several
 * users.
 *
 * @packageDocumentation
 */
export { type Clock, systemClock } from "./clock.ts";
export { FakeClock, type FakeClockOptions } from "./fake-clock.ts";
export type { RateLimiter } from "./limiter.ts";
export { DEFAULT_SLICE_MS, RateLimit, type RateLimitOptions } from "./rate-limit.ts";
export { type MemberOptions, RateLimitMember, SharedRateLimit } from "./shared-rate-limit.ts";
