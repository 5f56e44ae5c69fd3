import { describe, expect, it } from "vitest";
import { DEFAULT_SLICE_MS, FakeClock, RateLimit } from "../src/index.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

function limitAt(speed: number, sliceMs?: number): { clock: FakeClock; limit: RateLimit } {
  const clock = new FakeClock();
  const limit = new RateLimit(sliceMs === undefined ? { speed, clock } : { speed, clock, sliceMs });
  return { clock, limit };
}

describe("worked numbers of the QEMU limiter", () => {
  it("1,048,576 bytes per second has a quota of 104,857 bytes per slice", () => {
    expect(limitAt(MiB).limit.quotaBytes).toBe(104_857);
    expect(DEFAULT_SLICE_MS).toBe(100);
  });

  it("64 KiB at 0 ms pass; 64 KiB more at 5 ms wait 120 ms", () => {
    const { clock, limit } = limitAt(MiB);
    expect(limit.account(64 * KiB)).toBe(0);
    clock.skip(5);
    expect(limit.account(64 * KiB)).toBeCloseTo(120, 2);
  });

  it("16 MiB in a fresh slice wait 16 s", () => {
    expect(limitAt(MiB).limit.account(16 * MiB)).toBeCloseTo(16_000, -1);
  });

  it("doubling the speed after 4 of 16 s leaves 4 s", () => {
    const { clock, limit } = limitAt(MiB);
    limit.account(16 * MiB);
    clock.skip(4000);
    limit.setSpeed(2 * MiB);
    expect(limit.quotaBytes).toBe(209_715);
    expect(limit.delay()).toBeCloseTo(4000, -1);
  });

  it("sixteen times the speed after 4 of 16 s: the end lies 3 s back, which is no wait, and the next charge starts afresh", () => {
    const { clock, limit } = limitAt(MiB);
    limit.account(16 * MiB);
    clock.skip(4000);
    limit.setSpeed(16 * MiB);
    expect(limit.quotaBytes).toBe(1_677_721);
    expect(limit.delay()).toBe(0);
    expect(limit.account(MiB)).toBe(0);
    expect(limit.account(MiB)).toBeCloseTo(125, 2);
  });

  it("1 byte per second keeps a quota of 1 byte per slice: 64 KiB cost 6553.6 s", () => {
    const { limit } = limitAt(1);
    expect(limit.quotaBytes).toBe(1);
    expect(limit.account(64 * KiB)).toBeCloseTo(6_553_600, 3);
  });
});

describe("slices", () => {
  it("reaching the quota exactly waits for the end of the slice", () => {
    const { clock, limit } = limitAt(1000);
    expect(limit.account(99)).toBe(0);
    clock.skip(30);
    expect(limit.account(1)).toBe(70);
  });

  it("at the very end of a slice the slice goes on", () => {
    const { clock, limit } = limitAt(1000);
    limit.account(60);
    clock.skip(100);
    expect(limit.account(60)).toBeCloseTo(20, 9);
  });

  it("what a slice leaves unused is lost", () => {
    const { clock, limit } = limitAt(1000);
    limit.account(1);
    clock.skip(10_000);
    expect(limit.account(99)).toBe(0);
    expect(limit.account(1)).toBe(100);
  });

  it("the quota is cut to whole bytes", () => {
    expect(limitAt(1019).limit.quotaBytes).toBe(101);
    expect(limitAt(1000, 250).limit.quotaBytes).toBe(250);
  });

  it("a slice is as long as asked for", () => {
    const { limit } = limitAt(1000, 250);
    expect(limit.account(250)).toBe(250);
  });

  it("a burst is at most one quota and one charge", () => {
    const { limit } = limitAt(1000);
    let passed = 0;
    while (limit.account(30) === 0) passed += 30;
    expect(passed).toBeLessThan(100);
    expect(limit.delay()).toBeCloseTo(((passed + 30) / 100) * 100, 9);
  });

  it("asking costs nothing and changes nothing", () => {
    const { clock, limit } = limitAt(1000);
    limit.account(150);
    clock.skip(20);
    expect([limit.delay(), limit.delay(), limit.account(0)]).toEqual([130, 130, 130]);
  });
});

describe("speed", () => {
  it("0 is unlimited: nothing is accounted, nothing waits", () => {
    const { clock, limit } = limitAt(0);
    expect(limit.quotaBytes).toBe(0);
    expect(limit.account(Number.MAX_SAFE_INTEGER)).toBe(0);
    limit.setSpeed(1000);
    expect(limit.delay()).toBe(0);
    clock.skip(1);
    expect(limit.account(99)).toBe(0);
  });

  it("is unlimited by default", () => {
    const limit = new RateLimit();
    expect([limit.speed, limit.sliceMs, limit.account(MiB)]).toEqual([0, 100, 0]);
  });

  it("unlimited forgets the debt", () => {
    const { limit } = limitAt(1000);
    limit.account(10_000);
    limit.setSpeed(0);
    expect(limit.delay()).toBe(0);
    limit.setSpeed(1000);
    expect(limit.delay()).toBe(0);
  });

  it("half the speed doubles what is left, and no more", () => {
    const { clock, limit } = limitAt(1000);
    limit.account(1000);
    clock.skip(400);
    expect(limit.delay()).toBe(600);
    limit.setSpeed(500);
    // The old debt at the new price: 1000 bytes are 2 s, of which 400 ms have passed.
    expect(limit.delay()).toBe(1600);
  });

  it("a raise that puts the quota above what was charged opens the slice, which then ends in time", () => {
    const { clock, limit } = limitAt(1000);
    limit.account(150);
    limit.setSpeed(10_000);
    expect(limit.delay()).toBe(0);
    clock.skip(101);
    expect(limit.account(999)).toBe(0);
    expect(limit.account(1)).toBe(100);
  });

  it("is answered as it was set", () => {
    const { limit } = limitAt(15);
    expect(limit.speed).toBe(15);
    limit.setSpeed(7);
    expect(limit.speed).toBe(7);
  });
});

describe("bad values", () => {
  it.each([-1, NaN, Infinity, -Infinity])("refuses a charge of %d", (bytes) => {
    const { limit } = limitAt(1000);
    expect(() => limit.account(bytes)).toThrow(RangeError);
    expect(limit.account(99)).toBe(0);
  });

  it.each([-1, NaN, Infinity])("refuses a speed of %d and keeps the old one", (speed) => {
    const { limit } = limitAt(1000);
    expect(() => {
      limit.setSpeed(speed);
    }).toThrow(RangeError);
    expect([limit.speed, limit.quotaBytes]).toEqual([1000, 100]);
    expect(() => new RateLimit({ speed })).toThrow(RangeError);
  });

  it.each([0, -1, NaN, Infinity])("refuses slices of %d ms", (sliceMs) => {
    expect(() => new RateLimit({ sliceMs })).toThrow(RangeError);
  });
});
