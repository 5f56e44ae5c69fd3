import type { Clock } from "./clock.ts";

/**
 * What code that moves bytes needs of a limit, whether it is its own ({@link RateLimit}) or shared
 * ({@link SharedRateLimit}). Charge what you are about to do or just did, then wait before doing more.
 */
export interface RateLimiter {
  /**
   * Charges `bytes` and says how long to wait before the next charge. Zero bytes only ask.
   *
   * @param bytes not negative; 0 for work that costs nothing.
   * @returns milliseconds, never negative, may be fractional; 0 = go on.
   * @throws RangeError when `bytes` is negative or not finite.
   */
  account(bytes: number): number;
  /** The wait that is left now, milliseconds; {@link account} of nothing. */
  delay(): number;
  /**
   * Resolves when nothing is left to wait for. A speed change while waiting is taken into account at once.
   *
   * @param signal ends the wait early.
   * @throws the signal's reason (rejection) when it is aborted.
   */
  wait(signal?: AbortSignal): Promise<void>;
  /**
   * Calls `listener` after each change that may shorten or lengthen a wait, for callers who sleep on a timer of their
   * own instead of {@link wait}. Listeners must not throw.
   *
   * @returns the function that ends the subscription.
   */
  onChange(listener: () => void): () => void;
}

/** The waiting half of every limiter: sleep what is left, look again, until nothing is left. */
export async function waitForLimiter(
  limiter: Pick<RateLimiter, "delay" | "onChange">,
  clock: Clock,
  signal: AbortSignal | undefined,
): Promise<void> {
  signal?.throwIfAborted();
  for (let delayMs = limiter.delay(); delayMs > 0; delayMs = limiter.delay()) {
    await sleepUnlessChanged(limiter, clock, delayMs, signal);
    signal?.throwIfAborted();
  }
}

function sleepUnlessChanged(
  limiter: Pick<RateLimiter, "onChange">,
  clock: Clock,
  delayMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  return new Promise<void>((resolve) => {
    const wake = (): void => {
      cancelTimer();
      unsubscribe();
      signal?.removeEventListener("abort", wake);
      resolve();
    };
    const cancelTimer = clock.schedule(delayMs, wake);
    const unsubscribe = limiter.onChange(wake);
    signal?.addEventListener("abort", wake);
  });
}

/** @throws RangeError unless `bytes` is a charge. */
export function requireBytes(bytes: number): void {
  if (!Number.isFinite(bytes) || bytes < 0) {
    throw new RangeError(`a charge is a finite, non-negative number of bytes, not ${bytes}`);
  }
}

/** @throws RangeError unless `bytesPerSec` is a speed. */
export function requireSpeed(bytesPerSec: number): void {
  if (!Number.isFinite(bytesPerSec) || bytesPerSec < 0) {
    throw new RangeError(
      `a speed is a finite, non-negative number of bytes per second (0 = unlimited), not ${bytesPerSec}`,
    );
  }
}
