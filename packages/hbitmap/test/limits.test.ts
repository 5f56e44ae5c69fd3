import { describe, expect, it } from "vitest";
import { HBitmap, MAX_BITS } from "../src/index.ts";
import { walk } from "./shadow.ts";

describe("construction", () => {
  it.each([-1, 0.5, Number.NaN, Infinity, 2 ** 53])("refuses a size of %s", (size) => {
    expect(() => new HBitmap({ size, granularity: 2 ** 40 })).toThrow(RangeError);
  });

  it.each([0, -1, 3, 0.5, 48, Number.NaN, Infinity, 2 ** 53, 2 ** 52 + 1, 2 ** 52 - 1])(
    "refuses a granularity of %s",
    (granularity) => {
      expect(() => new HBitmap({ size: 100, granularity })).toThrow(RangeError);
    },
  );

  it("accepts every power of two from 1 to 2^52", () => {
    for (let bits = 0; bits <= 52; bits += 1) {
      const bitmap = new HBitmap({ size: 1, granularity: 2 ** bits });
      bitmap.set(0, 1);
      expect(bitmap.granularity).toBe(2 ** bits);
      expect(bitmap.count).toBe(2 ** bits);
    }
  });

  it("refuses more bits than one typed array can hold, by name, and says what to do", () => {
    expect(() => new HBitmap({ size: MAX_BITS + 1 })).toThrow(RangeError);
    expect(() => new HBitmap({ size: MAX_BITS + 1 })).toThrow(/larger granularity/);
    expect(() => new HBitmap({ size: Number.MAX_SAFE_INTEGER })).toThrow(RangeError);
  });

  it("spends at most 5 % more than one bit per group", () => {
    const bitmap = new HBitmap({ size: 2 ** 40, granularity: 65_536 });
    expect(bitmap.byteLength).toBeGreaterThanOrEqual(2 ** 24 / 8);
    expect(bitmap.byteLength).toBeLessThanOrEqual((2 ** 24 / 8) * 1.05);
  });
});

describe("the largest size", () => {
  const size = Number.MAX_SAFE_INTEGER;

  it("is exact to the item", () => {
    const bitmap = new HBitmap({ size, granularity: 2 ** 30 });
    const last = size - 1;
    bitmap.set(last, 1);
    expect(bitmap.get(last)).toBe(true);
    expect(bitmap.get(2 ** 53 - 2 ** 30)).toBe(true);
    expect(bitmap.get(2 ** 53 - 2 ** 30 - 1)).toBe(false);
    expect(bitmap.nextDirty(0)).toBe(2 ** 53 - 2 ** 30);
    expect(bitmap.nextDirty(last)).toBe(last);
    expect(bitmap.nextDirtyArea(0)).toEqual({ start: 2 ** 53 - 2 ** 30, length: 2 ** 30 - 1 });
    expect(bitmap.status(last, 1)).toEqual({ dirty: true, length: 1 });
    expect(bitmap.countRange(0, size)).toBe(2 ** 30 - 1);
    expect(walk(bitmap)).toEqual([2 ** 53 - 2 ** 30]);
    expect(() => bitmap.set(last, 3)).toThrow(RangeError);
    expect(() => bitmap.get(size)).toThrow(RangeError);
    bitmap.set(0, size);
    expect(bitmap.count).toBe(2 ** 53);
    expect(bitmap.nextZero(0)).toBe(-1);
    bitmap.reset(0, size);
    expect(bitmap.isEmpty).toBe(true);
  });
});

describe("more than 2^31 and 2^32 bits", () => {
  // The words are touched only where bits are set, so this costs address space rather than memory.
  const size = 2 ** 33;
  const edges = [2 ** 31 - 1, 2 ** 31, 2 ** 31 + 33, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 5, 2 ** 33 - 1];

  it("are told apart by every operation", () => {
    const bitmap = new HBitmap({ size });
    for (const bit of edges) bitmap.set(bit, 1);
    expect(walk(bitmap)).toEqual(edges);
    expect(bitmap.count).toBe(edges.length);
    expect(bitmap.get(0)).toBe(false);
    expect(bitmap.get(5)).toBe(false);
    for (const bit of edges) {
      expect(bitmap.get(bit)).toBe(true);
      expect(bitmap.nextDirty(bit)).toBe(bit);
      expect(bitmap.countRange(bit, 1)).toBe(1);
      expect(walk(bitmap, bit)[0]).toBe(bit);
    }
    expect(bitmap.nextZero(2 ** 32 - 1)).toBe(2 ** 32 + 1);
    expect(bitmap.nextDirtyArea(2 ** 31 + 34)).toEqual({ start: 2 ** 32 - 1, length: 2 });
    expect(bitmap.status(2 ** 32 + 1, 100)).toEqual({ dirty: false, length: 4 });

    bitmap.set(2 ** 32 - 100, 200);
    expect(bitmap.countRange(2 ** 32 - 200, 400)).toBe(200);
    bitmap.reset(2 ** 32 - 100, 200);
    expect(bitmap.nextDirtyArea(2 ** 31 + 34)).toEqual({ start: 2 ** 33 - 1, length: 1 });
    const part = new Uint8Array(8);
    bitmap.serialize(2 ** 33 - 64, 64, part);
    expect([...part]).toEqual([0, 0, 0, 0, 0, 0, 0, 0x80]);
    bitmap.deserialize(2 ** 32, 64, part);
    expect(bitmap.nextDirty(2 ** 32)).toBe(2 ** 32 + 63);
    bitmap.reset(2 ** 31, 1);
    expect(walk(bitmap)).toEqual([2 ** 31 - 1, 2 ** 31 + 33, 2 ** 32 + 63, 2 ** 33 - 1]);
  });
});
