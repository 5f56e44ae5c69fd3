import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FakeClock, type RateLimiter, SharedRateLimit } from "../src/index.ts";
import { SEED } from "./seed.ts";

/** Charges and waits until the end; counts its bytes. */
async function keepCopying(
  member: RateLimiter,
  clock: FakeClock,
  chargeBytes: number,
  untilMs: number,
  count: { bytes: number },
): Promise<void> {
  while (clock.now() < untilMs) {
    count.bytes += chargeBytes;
    member.account(chargeBytes);
    await member.wait();
  }
}

describe("members of one limit", () => {
  it("get its speed together", async () => {
    const clock = new FakeClock({ latenessMs: () => 1.3 });
    const shared = new SharedRateLimit({ speed: 1_000_000, clock });
    const counts = [{ bytes: 0 }, { bytes: 0 }, { bytes: 0 }];
    await clock.run(
      Promise.all(counts.map((count) => keepCopying(shared.join(), clock, 10_000, 10_000, count))),
    );
    const total = counts.reduce((sum, count) => sum + count.bytes, 0);
    expect(Math.abs(total / 10_000_000 - 1)).toBeLessThan(0.03);
  });

  it("share it equally in bytes, however different their charges", async () => {
    const clock = new FakeClock({ latenessMs: () => 1.3 });
    const shared = new SharedRateLimit({ speed: 10_000_000, clock });
    const large = { bytes: 0 };
    const small = { bytes: 0 };
    await clock.run(
      Promise.all([
        keepCopying(shared.join(), clock, 2 ** 21, 20_000, large),
        keepCopying(shared.join(), clock, 2 ** 16, 20_000, small),
      ]),
    );
    const total = large.bytes + small.bytes;
    expect(Math.abs(total / 200_000_000 - 1)).toBeLessThan(0.03);
    expect(small.bytes / total).toBeGreaterThan(0.4);
    expect(large.bytes / total).toBeGreaterThan(0.4);
  });

  it("leave their part to others while idle, and get it back at once", async () => {
    const clock = new FakeClock({ latenessMs: () => 1 });
    const shared = new SharedRateLimit({ speed: 1_000_000, clock });
    const first = { bytes: 0 };
    const alone = keepCopying(shared.join(), clock, 20_000, 20_000, first);
    const second = shared.join();
    await clock.advance(10_000);
    expect(Math.abs(first.bytes / 10_000_000 - 1)).toBeLessThan(0.03);
    const before = first.bytes;
    const counted = { bytes: 0 };
    await clock.run(Promise.all([alone, keepCopying(second, clock, 20_000, 20_000, counted)]));
    expect(Math.abs(counted.bytes / 5_000_000 - 1)).toBeLessThan(0.1);
    expect(Math.abs((first.bytes - before) / 5_000_000 - 1)).toBeLessThan(0.1);
  });

  it("obey their own limit besides", async () => {
    const clock = new FakeClock();
    const shared = new SharedRateLimit({ speed: 1_000_000, clock });
    const slow = { bytes: 0 };
    const fast = { bytes: 0 };
    const slowMember = shared.join({ speed: 100_000 });
    expect(slowMember.speed).toBe(100_000);
    await clock.run(
      Promise.all([
        keepCopying(slowMember, clock, 5000, 10_000, slow),
        keepCopying(shared.join(), clock, 20_000, 10_000, fast),
      ]),
    );
    expect(Math.abs(slow.bytes / 1_000_000 - 1)).toBeLessThan(0.03);
    expect(Math.abs((slow.bytes + fast.bytes) / 10_000_000 - 1)).toBeLessThan(0.03);
  });

  it("wake up at a change of the shared speed and of their own", async () => {
    const clock = new FakeClock();
    const shared = new SharedRateLimit({ speed: 1000, clock });
    const member = shared.join({ speed: 1000 });
    member.account(10_000);
    const ended = { atMs: -1 };
    const waiting = member.wait().then(() => {
      ended.atMs = clock.now();
    });
    await clock.advance(100);
    shared.setSpeed(0);
    await clock.advance(100);
    expect(ended.atMs).toBe(-1);
    member.setSpeed(0);
    await waiting;
    expect(ended.atMs).toBe(200);
    expect(shared.speed).toBe(0);
  });

  it("are counted until they leave; the parts of those that stay grow", () => {
    const clock = new FakeClock();
    const shared = new SharedRateLimit({ speed: 1000, clock });
    const [first, second] = [shared.join(), shared.join()];
    expect(shared.memberCount).toBe(2);
    // First alone owes 2 s to the limit; the second's own part pays its 100 bytes in 200 ms, then 100 ms when alone.
    first.account(2000);
    expect(second.account(100)).toBeCloseTo(200, 9);
    first.leave();
    first.leave();
    expect(shared.memberCount).toBe(1);
    expect(second.delay()).toBeCloseTo(100, 9);
  });

  it("are unlimited together by default", () => {
    const member = new SharedRateLimit().join();
    expect(member.account(2 ** 40)).toBe(0);
  });

  it("refuse bad values before anything is charged", () => {
    const shared = new SharedRateLimit({ speed: 1000, clock: new FakeClock() });
    const member = shared.join();
    expect(() => member.account(-1)).toThrow(RangeError);
    expect(() => {
      member.setSpeed(-1);
    }).toThrow(RangeError);
    expect(() => shared.join({ speed: NaN })).toThrow(RangeError);
    expect(shared.memberCount).toBe(1);
    expect(member.delay()).toBe(0);
  });

  it("abort a wait of one without touching the others", async () => {
    const clock = new FakeClock();
    const shared = new SharedRateLimit({ speed: 1000, clock });
    const member = shared.join();
    member.account(500);
    const controller = new AbortController();
    const aborted = member.wait(controller.signal);
    const other = member.wait();
    controller.abort(new Error("stop"));
    await expect(aborted).rejects.toThrow("stop");
    await clock.run(other);
    expect(clock.now()).toBe(500);
  });

  it("never exceed it by more than one quota and one charge each, whatever they do", async () => {
    const behaviour = fc.record({
      chargeBytes: fc.integer({ min: 1, max: 200_000 }),
      idleMs: fc.array(fc.oneof(fc.constant(0), fc.double({ min: 0, max: 400, noNaN: true })), {
        minLength: 1,
        maxLength: 5,
      }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1000, max: 1_000_000 }),
        fc.array(behaviour, { minLength: 1, maxLength: 4 }),
        fc.double({ min: 0, max: 120, noNaN: true }),
        async (speed, behaviours, lateMs) => {
          const clock = new FakeClock({ latenessMs: () => lateMs });
          const shared = new SharedRateLimit({ speed, clock });
          const largest = behaviours.reduce((sum, { chargeBytes }) => sum + chargeBytes, 0);
          let bytes = 0;
          const copy = async (member: RateLimiter, { chargeBytes, idleMs }: (typeof behaviours)[number]) => {
            for (let round = 0; round < 25; round += 1) {
              const pauseMs = idleMs[round % idleMs.length] ?? 0;
              if (pauseMs > 0) {
                await new Promise<void>((resolve) => {
                  clock.schedule(pauseMs, resolve);
                });
              }
              await member.wait();
              bytes += chargeBytes;
              member.account(chargeBytes);
              const allowed = (speed * clock.now()) / 1000 + speed / 10 + largest;
              expect(bytes).toBeLessThanOrEqual(allowed + 1e-6);
            }
          };
          await clock.run(Promise.all(behaviours.map((each) => copy(shared.join(), each))), 1e12);
        },
      ),
      { seed: SEED, numRuns: 100 },
    );
  });
});
