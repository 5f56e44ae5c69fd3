import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FakeClock, RateLimit } from "../src/index.ts";
import { SEED } from "./seed.ts";

const MiB = 2 ** 20;

interface Simulation {
  readonly speed: number;
  readonly chargeBytes: () => number;
  /** What one operation takes besides, milliseconds. */
  readonly operationMs: number;
  readonly latenessMs: (delayMs: number) => number;
  readonly durationMs: number;
}

/**
 * A loop that charges, works and waits, like a copy job. Answers bytes per second up to the last moment when all was
 * paid: in between, up to one quota is ahead of its time by design.
 */
async function simulate(simulation: Simulation): Promise<number> {
  const clock = new FakeClock({ latenessMs: simulation.latenessMs });
  const limit = new RateLimit({ speed: simulation.speed, clock });
  let bytes = 0;
  let rate = 0;
  const loop = async (): Promise<void> => {
    while (clock.now() < simulation.durationMs) {
      const charge = simulation.chargeBytes();
      bytes += charge;
      limit.account(charge);
      clock.skip(simulation.operationMs);
      if (limit.delay() === 0) continue;
      await limit.wait();
      rate = bytes / (clock.now() / 1000);
    }
  };
  await clock.run(loop());
  return rate;
}

describe("achieved rate", () => {
  it.each([
    { name: "1 MiB charges at 200 MB/s", speed: 200e6, charge: MiB, operationMs: 0.5 },
    { name: "2 MiB charges at 200 MB/s", speed: 200e6, charge: 2 * MiB, operationMs: 1 },
    { name: "2 MiB charges at 1 GB/s", speed: 1e9, charge: 2 * MiB, operationMs: 0.7 },
    { name: "64 KiB charges at 10 MB/s", speed: 10e6, charge: 65_536, operationMs: 0.1 },
    { name: "charges of several slices each", speed: 10e6, charge: 8 * MiB, operationMs: 4 },
  ])("within 1 % over two seconds with timers 1 to 3 ms late: $name", async (row) => {
    let timers = 0;
    const rate = await simulate({
      speed: row.speed,
      chargeBytes: () => row.charge,
      operationMs: row.operationMs,
      latenessMs: () => 1 + (timers++ % 3),
      // Whole multiples of a charge's time are not reached exactly; longer for the largest charges.
      durationMs: row.charge > row.speed / 10 ? 20_000 : 2000,
    });
    expect(Math.abs(rate / row.speed - 1)).toBeLessThan(0.01);
  });

  it("timers far too late, but within a slice, still lose nothing", async () => {
    const rate = await simulate({
      speed: 50e6,
      chargeBytes: () => MiB,
      operationMs: 0.5,
      latenessMs: () => 40,
      durationMs: 20_000,
    });
    expect(Math.abs(rate / 50e6 - 1)).toBeLessThan(0.01);
  });

  it("never exceeds the speed by more than one quota and one charge, whatever the timers, charges and pauses", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 100, max: 1_000_000 }),
        fc.array(
          fc.record({
            bytes: fc.integer({ min: 0, max: 300_000 }),
            idleMs: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 350, noNaN: true })),
            lateMs: fc.double({ min: 0, max: 150, noNaN: true }),
          }),
          { minLength: 1, maxLength: 60 },
        ),
        async (speed, steps) => {
          let lateMs = 0;
          const clock = new FakeClock({ latenessMs: () => lateMs });
          const limit = new RateLimit({ speed, clock });
          let bytes = 0;
          let largest = 0;
          const play = async (): Promise<void> => {
            for (const step of steps) {
              ({ lateMs } = step);
              clock.skip(step.idleMs);
              await limit.wait();
              // Measured when everything is paid: at most what time allowed, and the slice under way.
              const allowed = (speed * clock.now()) / 1000 + Math.max(limit.quotaBytes, 1) + largest;
              // Speeds below 10 per slice are rounded up to whole bytes, speeds above are rounded down.
              expect(bytes).toBeLessThanOrEqual(allowed + 1e-6);
              bytes += step.bytes;
              largest = Math.max(largest, step.bytes);
              expect(limit.account(step.bytes)).toBeGreaterThanOrEqual(0);
            }
          };
          await clock.run(play(), 1e12);
        },
      ),
      { seed: SEED, numRuns: 150 },
    );
  });

  it("idle time is not saved up, not even after a wait", async () => {
    const clock = new FakeClock();
    const limit = new RateLimit({ speed: 1000, clock });
    limit.account(150);
    await clock.run(limit.wait());
    clock.skip(100.1);
    // Back 100.1 ms after the end: idle, so a full slice starts now.
    expect(limit.account(99)).toBe(0);
    expect(limit.account(1)).toBeCloseTo(100, 9);
  });

  it("back within a slice of the end it was told to wait for, the slice starts at that end", async () => {
    const clock = new FakeClock();
    const limit = new RateLimit({ speed: 1000, clock });
    limit.account(150);
    await clock.run(limit.wait());
    clock.skip(40);
    expect(limit.account(100)).toBeCloseTo(60, 9);
  });

  it("who was not told to wait is not late", () => {
    const clock = new FakeClock();
    const limit = new RateLimit({ speed: 1000, clock });
    limit.account(50);
    clock.skip(140);
    expect(limit.account(100)).toBe(100);
  });

  it("a cut of the speed costs at most the old debt at the new price", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1000, max: 1_000_000 }),
        fc.integer({ min: 2, max: 100 }),
        fc.integer({ min: 1, max: 5_000_000 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (speed, ratio, bytes, share) => {
          const clock = new FakeClock();
          const limit = new RateLimit({ speed: speed * ratio, clock });
          const debtMs = Math.max(limit.account(bytes), 100);
          clock.skip(debtMs * share);
          limit.setSpeed(speed);
          expect(limit.delay()).toBeLessThanOrEqual(debtMs * ratio * 1.01 + 1e-6);
        },
      ),
      { seed: SEED },
    );
  });
});
