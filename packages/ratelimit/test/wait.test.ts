import { describe, expect, it } from "vitest";
import { FakeClock, RateLimit } from "../src/index.ts";

function limitAt(speed: number): { clock: FakeClock; limit: RateLimit } {
  const clock = new FakeClock();
  return { clock, limit: new RateLimit({ speed, clock }) };
}

/** When a promise settled on the fake clock, and how. */
function watch(promise: Promise<void>, clock: FakeClock): { atMs: number | undefined; error: unknown } {
  const seen: { atMs: number | undefined; error: unknown } = { atMs: undefined, error: undefined };
  promise.then(
    () => {
      seen.atMs = clock.now();
    },
    (error: unknown) => {
      seen.atMs = clock.now();
      seen.error = error;
    },
  );
  return seen;
}

describe("wait", () => {
  it("returns at once, without a timer, when nothing is owed", async () => {
    const { clock, limit } = limitAt(1000);
    await limit.wait();
    expect(clock.pendingTimers).toBe(0);
  });

  it("lasts as long as the debt", async () => {
    const { clock, limit } = limitAt(1000);
    limit.account(500);
    const seen = watch(limit.wait(), clock);
    await clock.advance(499);
    expect(seen.atMs).toBeUndefined();
    await clock.advance(1);
    expect(seen.atMs).toBe(500);
  });

  it("is shortened by a raise while waiting", async () => {
    const { clock, limit } = limitAt(1000);
    limit.account(1000);
    const seen = watch(limit.wait(), clock);
    await clock.advance(200);
    limit.setSpeed(2000);
    await clock.advance(1000);
    expect(seen.atMs).toBe(500);
  });

  it("ends at once when the limit is taken away", async () => {
    const { clock, limit } = limitAt(1);
    limit.account(1_000_000);
    const seen = watch(limit.wait(), clock);
    await clock.advance(50);
    limit.setSpeed(0);
    await clock.settle();
    expect(seen.atMs).toBe(50);
    expect(clock.pendingTimers).toBe(0);
  });

  it("is lengthened by a cut while waiting", async () => {
    const { clock, limit } = limitAt(1000);
    limit.account(1000);
    const seen = watch(limit.wait(), clock);
    await clock.advance(200);
    limit.setSpeed(500);
    await clock.advance(5000);
    expect(seen.atMs).toBe(2000);
  });

  it("is lengthened by what others charge meanwhile", async () => {
    const { clock, limit } = limitAt(1000);
    limit.account(200);
    const seen = watch(limit.wait(), clock);
    await clock.advance(100);
    limit.account(100);
    await clock.advance(1000);
    expect(seen.atMs).toBe(300);
  });

  it("rejects with the signal's reason when aborted, and leaves nothing behind", async () => {
    const { clock, limit } = limitAt(1000);
    limit.account(1000);
    const controller = new AbortController();
    const seen = watch(limit.wait(controller.signal), clock);
    await clock.advance(10);
    const reason = new Error("enough");
    controller.abort(reason);
    await clock.settle();
    expect(seen).toEqual({ atMs: 10, error: reason });
    expect(clock.pendingTimers).toBe(0);
    expect(limit.delay()).toBe(990);
  });

  it("rejects at once when the signal was aborted before", async () => {
    const { limit } = limitAt(1000);
    const reason = new Error("before");
    await expect(limit.wait(AbortSignal.abort(reason))).rejects.toBe(reason);
  });

  it("serves several waiters", async () => {
    const { clock, limit } = limitAt(1000);
    limit.account(300);
    const seen = [watch(limit.wait(), clock), watch(limit.wait(), clock)];
    await clock.advance(1000);
    expect(seen.map(({ atMs }) => atMs)).toEqual([300, 300]);
  });
});

describe("onChange", () => {
  it("tells of speed changes until unsubscribed, each subscription for itself", () => {
    const { limit } = limitAt(1000);
    let told = 0;
    const listener = (): void => {
      told += 1;
    };
    const first = limit.onChange(listener);
    const second = limit.onChange(listener);
    limit.setSpeed(1);
    expect(told).toBe(2);
    first();
    first();
    limit.setSpeed(2);
    expect(told).toBe(3);
    second();
    limit.setSpeed(3);
    expect(told).toBe(3);
  });
});
