import { type Clock, systemClock } from "./clock.ts";
import { type RateLimiter, requireBytes, waitForLimiter } from "./limiter.ts";
import { RateLimit, type RateLimitOptions } from "./rate-limit.ts";

/** Settings of a member of a {@link SharedRateLimit}. */
export interface MemberOptions {
  /** The member's own limit on top of the shared one, bytes per second; 0 = none. Default 0. */
  readonly speed?: number;
}

/**
 * One limit for several users, each of whom joins and charges its own {@link RateLimitMember}.
 *
 * Together the members get the speed of the limit. Who is idle leaves its part to the others; who is busy is sure of
 * an equal part, `speed / members`, in bytes, however small its charges are beside those of others.
 */
export class SharedRateLimit {
  readonly #limit: RateLimit;
  readonly #clock: Clock;
  readonly #members = new Set<RateLimitMember>();

  /** @throws RangeError when a setting is out of range. */
  constructor(options: RateLimitOptions = {}) {
    this.#clock = options.clock ?? systemClock;
    this.#limit = new RateLimit({ ...options, clock: this.#clock });
  }

  /** Bytes per second for all members together; 0 = unlimited. */
  get speed(): number {
    return this.#limit.speed;
  }

  /** Members that joined and have not left. */
  get memberCount(): number {
    return this.#members.size;
  }

  /**
   * Changes the speed at once, for waiting members too.
   *
   * @param bytesPerSec for all members together; 0 = unlimited.
   * @throws RangeError when negative or not finite; nothing changes then.
   */
  setSpeed(bytesPerSec: number): void {
    this.#limit.setSpeed(bytesPerSec);
  }

  /**
   * Adds a member. Call {@link RateLimitMember.leave} when it is done: members that stay keep their part reserved.
   *
   * @throws RangeError when a setting is out of range.
   */
  join(options: MemberOptions = {}): RateLimitMember {
    const member = new RateLimitMember(this.#limit, this.#members, this.#clock, options);
    this.#members.add(member);
    return member;
  }
}

/**
 * One user's side of a {@link SharedRateLimit}; made by its `join`.
 *
 * A member may go on when the shared limit has room, or else when its own equal part has. The second way is what keeps
 * a member with small charges alive beside one that empties each slice the moment it opens. It cannot exceed the
 * limit, because the parts of all members add up to it.
 */
export class RateLimitMember implements RateLimiter {
  readonly #shared: RateLimit;
  readonly #members: Set<RateLimitMember>;
  readonly #clock: Clock;
  readonly #own: RateLimit;
  /** Charged since `#partStartMs`, to be paid at the speed of one equal part. */
  #partBytes = 0;
  #partStartMs = -Infinity;

  /** @internal Use {@link SharedRateLimit.join}. */
  constructor(shared: RateLimit, members: Set<RateLimitMember>, clock: Clock, options: MemberOptions) {
    this.#shared = shared;
    this.#members = members;
    this.#clock = clock;
    this.#own = new RateLimit({ speed: options.speed ?? 0, sliceMs: shared.sliceMs, clock });
  }

  /** The member's own limit, bytes per second; 0 = none. The shared limit holds besides. */
  get speed(): number {
    return this.#own.speed;
  }

  /**
   * Changes the member's own limit at once.
   *
   * @throws RangeError when negative or not finite; nothing changes then.
   */
  setSpeed(bytesPerSec: number): void {
    this.#own.setSpeed(bytesPerSec);
  }

  account(bytes: number): number {
    requireBytes(bytes);
    if (bytes > 0) this.#chargePart(bytes);
    const sharedMs = this.#shared.account(bytes);
    const ownMs = this.#own.account(bytes);
    return Math.max(ownMs, Math.min(sharedMs, this.#partDelay()));
  }

  delay(): number {
    return this.account(0);
  }

  wait(signal?: AbortSignal): Promise<void> {
    return waitForLimiter(this, this.#clock, signal);
  }

  onChange(listener: () => void): () => void {
    const endShared = this.#shared.onChange(listener);
    const endOwn = this.#own.onChange(listener);
    return () => {
      endShared();
      endOwn();
    };
  }

  /** Leaves the shared limit; the others' parts grow. Harmless when repeated. The member must not be charged afterwards. */
  leave(): void {
    this.#members.delete(this);
  }

  #chargePart(bytes: number): void {
    const nowMs = this.#clock.now();
    const dueMs = this.#partDueMs();
    if (this.#shared.delay() === 0) {
      // Nobody is held up, so what this member took beyond its part harms nobody and is not held against it later.
      this.#partStartMs = nowMs;
      this.#partBytes = 0;
    } else if (dueMs <= nowMs) {
      // As in RateLimit: a timer that was late must not cost throughput, and idle time must not earn any.
      this.#partStartMs = nowMs - dueMs <= this.#shared.sliceMs ? dueMs : nowMs;
      this.#partBytes = 0;
    }
    this.#partBytes += bytes;
  }

  #partDueMs(): number {
    if (this.#partBytes === 0 || this.#shared.speed === 0) return this.#partStartMs;
    const bytesPerMs = this.#shared.speed / 1000 / Math.max(1, this.#members.size);
    return this.#partStartMs + this.#partBytes / bytesPerMs;
  }

  #partDelay(): number {
    return Math.max(0, this.#partDueMs() - this.#clock.now());
  }
}
