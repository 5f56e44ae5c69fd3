import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  describeDuration,
  ELAPSED_WIDTH,
  ETA_WIDTH,
  formatElapsed,
  formatEta,
  formatTimeOfDay,
} from "../../src/format/duration.ts";
import { formatPercent, PERCENT_WIDTH } from "../../src/format/percent.ts";
import { propertySeed } from "../support/seed.ts";

describe("durations", () => {
  test.each([
    [0, "0s"],
    [42, "42s"],
    [59.6, "1m 00s"],
    [187, "3m 07s"],
    [3599.7, "1h 00m"],
    [7500, "2h 05m"],
    [3 * 86_400 + 4 * 3600, "3d 04h"],
    [123.4 * 86_400, "123d"],
    [1e12, ">999d"],
    ["never" as const, "∞"],
    [Infinity, "∞"],
    [undefined, "—"],
    [Number.NaN, "—"],
    [-1, "—"],
  ])("%s is %j", (seconds, text) => {
    expect(describeDuration(seconds)).toBe(text);
  });

  test("elapsed", () => {
    expect(formatElapsed(192_000)).toBe("00:03:12");
    expect(formatElapsed((3 * 86_400 + 4 * 3600 + 300) * 1000)).toBe(" 3d04:05");
    expect(formatElapsed(undefined).trim()).toBe("—");
  });

  test("always the same width, never NaN", () => {
    fc.assert(
      fc.property(fc.oneof(fc.double(), fc.double({ min: 0, max: 1e9 })), (value) => {
        expect(formatEta(value)).toHaveLength(ETA_WIDTH);
        expect(formatElapsed(value)).toHaveLength(ELAPSED_WIDTH);
        expect(formatEta(value) + formatElapsed(value)).not.toContain("NaN");
      }),
      { seed: propertySeed, numRuns: 2000 },
    );
  });

  test("time of day", () => {
    expect(formatTimeOfDay(new Date(2026, 4, 1, 4, 5, 6).getTime())).toBe("04:05:06");
  });
});

describe("percent", () => {
  test("rounds down and keeps 100 for the finished", () => {
    expect(formatPercent(0.9999, false)).toBe("99.9%");
    expect(formatPercent(1, false)).toBe("99.9%");
    expect(formatPercent(1, true)).toBe(" 100%");
    expect(formatPercent(0, false)).toBe(" 0.0%");
    expect(formatPercent(undefined, false).trim()).toBe("—");
  });

  test("always the same width, monotone, never above 99.9 before the end", () => {
    fc.assert(
      fc.property(fc.double(), fc.double({ min: 0, max: 2, noNaN: true }), (wild, share) => {
        expect(formatPercent(wild, false)).toHaveLength(PERCENT_WIDTH);
        const shown = Number.parseFloat(formatPercent(share, false));
        expect(shown).toBeLessThanOrEqual(99.9);
        expect(Number.parseFloat(formatPercent(share * 1.1, false))).toBeGreaterThanOrEqual(shown);
      }),
      { seed: propertySeed, numRuns: 1000 },
    );
  });
});
