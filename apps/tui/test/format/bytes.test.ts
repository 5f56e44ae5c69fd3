import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  BYTES_WIDTH,
  describeBytes,
  formatBytes,
  formatExactSize,
  formatLimit,
  formatRate,
  parseSize,
  parseSpeed,
  RATE_WIDTH,
} from "../../src/format/bytes.ts";
import { propertySeed } from "../support/seed.ts";

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

describe("formatBytes", () => {
  test.each([
    [0, "   0 B  "],
    [512, " 512 B  "],
    [999, " 999 B  "],
    [1000, "0.98 KiB"],
    [KiB, "1.00 KiB"],
    [9.994 * KiB, "9.99 KiB"],
    [9.999 * KiB, "10.0 KiB"],
    [99.96 * KiB, " 100 KiB"],
    [1000 * KiB, "0.98 MiB"],
    [1.5 * GiB, "1.50 GiB"],
    [2 ** 53 - 1, "8.00 PiB"],
    [1e30, ">999 PiB"],
  ])("%d is %j", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  test("what is not an amount shows as a dash", () => {
    for (const value of [undefined, Number.NaN, Infinity, -1]) expect(formatBytes(value).trim()).toBe("—");
  });

  test("always the same width, never NaN", () => {
    fc.assert(
      fc.property(fc.oneof(fc.double(), fc.maxSafeNat(), fc.double({ min: 0, max: 1e7 })), (value) => {
        expect(formatBytes(value)).toHaveLength(BYTES_WIDTH);
        expect(formatRate(value)).toHaveLength(RATE_WIDTH);
        expect(formatLimit(value)).toHaveLength(RATE_WIDTH);
        expect(formatRate(value)).not.toMatch(/NaN|undefined|Infinity|e\+/u);
      }),
      { seed: propertySeed, numRuns: 2000 },
    );
  });

  test("three significant digits: what is shown is within half a percent above one KiB", () => {
    fc.assert(
      fc.property(fc.integer({ min: KiB, max: Number.MAX_SAFE_INTEGER }), (bytes) => {
        const parsed = parseSize(describeBytes(bytes).replace(" ", ""));
        // The shown number may not be a whole number of bytes; only the parsable ones can be compared.
        if (parsed.ok) expect(Math.abs(parsed.bytes - bytes) / bytes).toBeLessThan(0.006);
      }),
      { seed: propertySeed },
    );
  });

  test("a limit of zero is none", () => {
    expect(formatLimit(0).trim()).toBe("none");
  });
});

describe("parseSize", () => {
  test.each([
    ["0", 0],
    ["512", 512],
    ["64K", 64 * KiB],
    ["64k", 64 * KiB],
    ["64KiB", 64 * KiB],
    ["50M", 50 * MiB],
    ["1.5G", 1.5 * GiB],
    [".5G", GiB / 2],
    ["2 TiB", 2 * 1024 * GiB],
    [" 7B ", 7],
  ])("%j is %d", (text, bytes) => {
    expect(parseSize(text)).toEqual({ ok: true, bytes });
  });

  test.each(["", "K", "-1", "1e3", "5X", "0.3", "50MB", "5iB", "9P", "1.2.3", "NaN", "Infinity", "0x10"])(
    "%j is refused with a reason",
    (text) => {
      const parsed = parseSize(text);
      expect(parsed.ok).toBe(false);
      if (!parsed.ok) expect(parsed.reason).not.toBe("");
    },
  );

  test("an ambiguous decimal unit is answered with the spelling that works", () => {
    expect(parseSize("50MB")).toMatchObject({ ok: false, reason: expect.stringContaining("write 50M") });
  });

  test("reads back every exact size", () => {
    const sizes = fc.oneof(
      fc.maxSafeNat(),
      fc.tuple(fc.nat(8000), fc.nat(4)).map(([value, power]) => value * 1024 ** power),
    );
    fc.assert(
      fc.property(sizes, (bytes) => {
        expect(parseSize(formatExactSize(bytes))).toEqual({ ok: true, bytes });
        expect(parseSpeed(`${formatExactSize(bytes)}/s`)).toEqual({ ok: true, bytes });
      }),
      { seed: propertySeed, numRuns: 1000 },
    );
  });

  test("never throws, never answers with a number that is not a safe integer", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const parsed = parseSize(text);
        if (parsed.ok) expect(Number.isSafeInteger(parsed.bytes) && parsed.bytes >= 0).toBe(true);
      }),
      { seed: propertySeed, numRuns: 2000 },
    );
  });

  test("exact sizes refuse what is not a size", () => {
    expect(() => formatExactSize(-1)).toThrow(RangeError);
    expect(() => formatExactSize(0.5)).toThrow(RangeError);
  });
});

test("a speed may be called none or unlimited", () => {
  expect(parseSpeed("none")).toEqual({ ok: true, bytes: 0 });
  expect(parseSpeed("Unlimited")).toEqual({ ok: true, bytes: 0 });
  expect(parseSpeed("50M/sec")).toEqual({ ok: true, bytes: 50 * MiB });
});
