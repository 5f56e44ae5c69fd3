import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import "./seed.ts";
import { FakeClock, Throttle, type ThrottleDirection, type ThrottleLimits } from "../src/index.ts";

interface Subject {
  readonly clock: FakeClock;
  readonly throttle: Throttle;
}

function throttleOf(limits: Partial<ThrottleLimits>): Subject {
  const clock = new FakeClock();
  return { clock, throttle: new Throttle({ limits, clock }) };
}

/** One request after another, as soon as each may go, until `untilMs`. @returns how many went. */
function busy(
  { clock, throttle }: Subject,
  direction: ThrottleDirection,
  bytes: number,
  untilMs: number,
): number {
  let count = 0;
  for (;;) {
    const delayMs = throttle.delay(direction);
    if (clock.now() + delayMs > untilMs) {
      clock.skip(untilMs - clock.now());
      return count;
    }
    clock.skip(delayMs);
    throttle.charge(direction, bytes);
    count += 1;
  }
}

describe("a rate without a burst", () => {
  it("lets a tenth of a second through at once, then what it says", () => {
    const subject = throttleOf({ bpsTotal: 10_000 });
    // Ten fill the bucket, and one goes while it is full but not over.
    expect(busy(subject, "read", 100, 0)).toBe(11);
    expect(subject.throttle.delay("read")).toBe(10);
    expect(busy(subject, "read", 100, 1000)).toBe(100);
    expect(busy(subject, "read", 100, 101_000)).toBe(10_000);
  });

  it("makes whoever follows a large request wait for it", () => {
    const { throttle } = throttleOf({ bpsWrite: 1000 });
    throttle.charge("write", 1_048_576);
    expect(throttle.delay("write")).toBeCloseTo(1_048_476, 6);
    expect(throttle.delay("read")).toBe(0);
  });

  it("earns no more than its capacity by idling", () => {
    const subject = throttleOf({ iopsTotal: 100 });
    busy(subject, "read", 1, 1000);
    subject.clock.skip(3_600_000);
    expect(busy(subject, "read", 1, subject.clock.now())).toBe(11);
  });

  it("counts requests that need not have waited", () => {
    const subject = throttleOf({ iopsTotal: 10 });
    for (let index = 0; index < 51; index += 1) subject.throttle.charge("read", 1);
    expect(subject.throttle.delay("read")).toBeCloseTo(5000, 6);
  });
});

describe("a burst", () => {
  it("of one second is an amount that may be had at once", () => {
    const subject = throttleOf({ iopsTotal: 10, iopsTotalMax: 20 });
    expect(busy(subject, "read", 1, 0)).toBe(21);
    expect(busy(subject, "read", 1, 10_000)).toBe(100);
    // Filling it again takes as long as the burst exceeds what leaks: until then there is only a part of it.
    subject.clock.skip(1000);
    expect(busy(subject, "read", 1, subject.clock.now())).toBe(10);
    subject.clock.skip(2100);
    expect(busy(subject, "read", 1, subject.clock.now())).toBe(21);
  });

  it("of several seconds goes at its own rate, and ends when its amount is used up", () => {
    const subject = throttleOf({ bpsRead: 1000, bpsReadMax: 5000, bpsReadMaxLength: 4 });
    const perSecond: number[] = [];
    for (let second = 1; second <= 8; second += 1) {
      perSecond.push(busy(subject, "read", 50, second * 1000) * 50);
    }
    // 20000 bytes filled at 5000 and leaking at 1000 a second: the burst lasts 5 seconds.
    expect(perSecond.slice(1, 4)).toEqual([5000, 5000, 5000]);
    expect(perSecond[0]).toBe(5550);
    expect(perSecond.slice(0, 5).reduce((sum, each) => sum + each)).toBeLessThanOrEqual(25_050);
    expect(perSecond.slice(5)).toEqual([1000, 1000, 1000]);
  });
});

describe("the size of a request", () => {
  const cases: readonly (readonly [bytes: number, requests: number])[] = [
    [512, 1],
    [4096, 1],
    [6144, 1.5],
    [8192, 2],
    [1_048_576, 256],
  ];
  it.each(cases)("%i bytes count as %f requests of at most 4096", (bytes, requests) => {
    const { throttle } = throttleOf({ iopsTotal: 1, iopsSize: 4096 });
    throttle.charge("read", bytes);
    expect(throttle.delay("read")).toBeCloseTo((requests - 0.1) * 1000, 6);
  });

  it("does not matter without iopsSize", () => {
    const { throttle } = throttleOf({ iopsTotal: 1 });
    throttle.charge("read", 1_048_576);
    expect(throttle.delay("read")).toBeCloseTo(900, 6);
  });
});

describe("directions", () => {
  it("share a total", () => {
    const { throttle } = throttleOf({ bpsTotal: 1000 });
    throttle.charge("read", 600);
    throttle.charge("write", 600);
    expect(throttle.delay("read")).toBe(1100);
    expect(throttle.delay("write")).toBe(1100);
  });

  it("have nothing in common otherwise", () => {
    const { throttle } = throttleOf({ bpsRead: 1000, iopsWrite: 1 });
    throttle.charge("read", 1100);
    throttle.charge("write", 1_000_000);
    expect(throttle.delay("read")).toBe(1000);
    expect(throttle.delay("write")).toBeCloseTo(900, 6);
  });

  it("wait for the slowest of their limits", () => {
    const { throttle } = throttleOf({ bpsRead: 1000, iopsTotal: 1 });
    throttle.charge("read", 10);
    expect(throttle.delay("read")).toBeCloseTo(900, 6);
    throttle.charge("read", 10_000);
    expect(throttle.delay("read")).toBeCloseTo(9910, 6);
  });
});

describe("a change of limits", () => {
  it("takes effect at once", () => {
    const { throttle } = throttleOf({ bpsTotal: 1000 });
    throttle.charge("read", 1_000_000);
    throttle.setLimits({ bpsTotal: 2000 });
    expect(throttle.delay("read")).toBe(0);
    throttle.charge("read", 300);
    expect(throttle.delay("read")).toBe(150);
    throttle.setLimits({ bpsTotal: 0 });
    expect(throttle.delay("read")).toBe(0);
  });

  it("gives no burst for nothing: a full bucket stays full", () => {
    const subject = throttleOf({ iopsTotal: 100 });
    busy(subject, "read", 1, 0);
    subject.throttle.setLimits({ iopsTotal: 50 });
    // Full, so one more goes, and the next waits its turn.
    expect(busy(subject, "read", 1, 0)).toBe(1);
    expect(subject.throttle.delay("read")).toBeCloseTo(20, 6);
  });

  it("of one rate leaves the debt of others", () => {
    const { throttle } = throttleOf({ bpsTotal: 1000 });
    throttle.charge("read", 5100);
    throttle.setLimits({ iopsTotal: 1_000_000 });
    throttle.setLimits({ bpsTotal: 1000 });
    expect(throttle.delay("read")).toBe(5000);
  });
});

describe("whatever the limits and the requests", () => {
  const limits = fc
    .record({
      rate: fc.integer({ min: 1, max: 1_000_000 }),
      factor: fc.integer({ min: 0, max: 10 }),
      length: fc.integer({ min: 1, max: 10 }),
    })
    .map(({ rate, factor, length }) => ({
      rate,
      max: rate * factor,
      length: factor === 0 ? 1 : length,
    }));
  const request = fc.record({
    bytes: fc.integer({ min: 1, max: 100_000 }),
    idleMs: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 5000 })),
  });

  it("no stretch of time carries more than its share, the bucket, and one request", () => {
    fc.assert(
      fc.property(
        limits,
        fc.array(request, { minLength: 1, maxLength: 60 }),
        ({ rate, max, length }, all) => {
          const { clock, throttle } = throttleOf({
            bpsRead: rate,
            bpsReadMax: max,
            bpsReadMaxLength: length,
          });
          const capacity = max > 0 ? max * length : rate / 10;
          // Waits of less than a microsecond are none.
          const rounding = 2e-6 * Math.max(rate, max) + 1e-3;
          const passed: { readonly atMs: number; readonly bytes: number }[] = [];
          for (const { bytes, idleMs } of all) {
            clock.skip(idleMs);
            clock.skip(throttle.delay("read"));
            expect(throttle.delay("read")).toBe(0);
            throttle.charge("read", bytes);
            passed.push({ atMs: clock.now(), bytes });
          }
          for (const [from, first] of passed.entries()) {
            let sum = 0;
            for (const { atMs, bytes } of passed.slice(from)) {
              // The last request of the stretch may exceed it: it goes as one.
              const seconds = (atMs - first.atMs) / 1000;
              expect(sum).toBeLessThanOrEqual(capacity + rate * seconds + rounding);
              if (length > 1) expect(sum).toBeLessThanOrEqual(max / 10 + max * seconds + rounding);
              sum += bytes;
            }
          }
        },
      ),
    );
  });

  it("a user that is always busy gets the rate", () => {
    fc.assert(
      fc.property(limits, fc.integer({ min: 1, max: 100_000 }), ({ rate, max, length }, bytes) => {
        const { clock, throttle } = throttleOf({
          bpsWrite: rate,
          bpsWriteMax: max,
          bpsWriteMaxLength: length,
        });
        const count = 200;
        for (let index = 0; index < count; index += 1) {
          clock.skip(throttle.delay("write"));
          throttle.charge("write", bytes);
        }
        // Never slower than the rate asks for.
        expect(clock.now() / 1000).toBeLessThanOrEqual(((count - 1) * bytes) / rate + 0.001);
      }),
    );
  });
});
