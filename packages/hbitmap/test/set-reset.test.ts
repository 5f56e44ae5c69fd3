import { describe, expect, it } from "vitest";
import { HBitmap } from "../src/index.ts";
import { Shadow, WORD_SIZES, walk } from "./shadow.ts";

describe.each(WORD_SIZES)("with words of $W bits", ({ L1, L2, L3 }) => {
  it("size/0: an empty bitmap answers and does not crash", () => {
    const { bitmap } = new Shadow({ size: 0 });
    expect(bitmap.count).toBe(0);
    expect(bitmap.isEmpty).toBe(true);
    expect(walk(bitmap)).toEqual([]);
    expect(bitmap.nextDirty(0)).toBe(-1);
    expect(bitmap.nextZero(0)).toBe(-1);
    expect(bitmap.nextDirtyArea(0)).toBeUndefined();
    expect(bitmap.countRange(0, 10)).toBe(0);
    bitmap.resetAll();
    bitmap.set(0, 0);
    expect(() => bitmap.set(0, 1)).toThrow(RangeError);
  });

  it("size/unaligned: first and last bit of a size that fills no word", () => {
    const shadow = new Shadow({ size: L3 + 23 });
    shadow.set(0, 1);
    shadow.set(L3 + 22, 1);
  });

  it("get/all: every bit reads true and their sum is the count", () => {
    const shadow = new Shadow({ size: L3 });
    shadow.set(0, L3);
    shadow.checkEveryGet();
    expect(shadow.bitmap.count).toBe(L3);
  });

  it("get/some: only the bits that were set read true", () => {
    const shadow = new Shadow({ size: 2 * L2 });
    for (const bit of [10, L1 - 1, L1, L2 - 1, L2]) {
      shadow.set(bit, 1);
      shadow.checkEveryGet();
    }
  });

  it("set/all", () => {
    new Shadow({ size: L3 }).set(0, L3);
  });

  it("set/one", () => {
    const shadow = new Shadow({ size: L3 });
    for (const bit of [10, L1 - 1, L1, L2 - 1, L2]) shadow.set(bit, 1);
  });

  it("set/two-elem: ranges over one word edge, in the low and the high half", () => {
    const shadow = new Shadow({ size: L3 });
    for (const base of [0, L3 / 2]) {
      shadow.set(base + L1 - 1, 2);
      shadow.set(base + 2 * L1 - 2, 4);
      shadow.set(base + 4 * L1 - 1, L1 + 1);
      shadow.set(base + 8 * L1 - 4, 8);
      shadow.set(base + L2 - 1, 2);
      shadow.set(base + L2 + L1 - 2, 4);
      shadow.set(base + L2 + 4 * L1 - 1, L1 + 1);
    }
  });

  it("set/general: ranges over several words, finally nearly everything", () => {
    const shadow = new Shadow({ size: L3 });
    shadow.set(L1 - 1, L1 + 2);
    shadow.set(3 * L1 - 1, L1 + 2);
    shadow.set(5 * L1, 2 * L1 + 1);
    shadow.set(8 * L1 - 1, 2 * L1 + 1);
    shadow.set(12 * L1, 2 * L1 - 2);
    shadow.set(L2 - 1, L1 + 2);
    shadow.set(L2 + L1 * 2 - 1, 2 * L1 + 1);
    shadow.set(0, L3 - 2);
  });

  it("set/twice: setting what is set changes nothing", () => {
    const shadow = new Shadow({ size: L1 * 3 });
    shadow.set(0, L1 * 3);
    shadow.set(L1, 1);
    expect(shadow.bitmap.count).toBe(L1 * 3);
  });

  it("set/overlap: ranges that grow over what is set, around every level's edge", () => {
    const shadow = new Shadow({ size: 2 * L3 });
    for (const edge of [L1, L2, L3]) {
      shadow.set(edge - 1, 1);
      shadow.set(edge - 1, 3);
      shadow.set(edge - Math.min(edge, L1), 2 * L1);
      shadow.set(edge - 3, L1 + 7);
      shadow.set(0, edge);
      shadow.set(edge - 1, edge);
    }
  });

  it("reset/empty", () => {
    new Shadow({ size: L3 }).reset(0, L3);
  });

  it("reset/general: set and reset in turn, overlapping", () => {
    const shadow = new Shadow({ size: 2 * L3 });
    for (const edge of [L1, L2, L3]) {
      shadow.set(edge - 1, L1 + 2);
      shadow.reset(edge, L1 - 1);
      shadow.set(edge - 3, 7);
      shadow.reset(edge - 2, L1 * 3);
      shadow.set(0, edge + 2);
      shadow.reset(1, edge - 1);
    }
    shadow.set(0, 2 * L3);
    shadow.reset(0, L1);
    shadow.reset(0, L2);
    shadow.reset(L3, L3);
    shadow.set(L3 / 2, L3);
    shadow.reset(0, 2 * L3);
  });

  it("reset/all: after patterns of every kind", () => {
    const shadow = new Shadow({ size: 2 * L3 });
    const patterns: readonly (readonly [number, number])[] = [
      [L1 - 1, L1 + 2],
      [0, L1 * 3],
      [L2, L1],
      [L3 - 1, 2],
      [0, 2 * L3],
    ];
    for (const [start, count] of patterns) {
      shadow.set(start, count);
      shadow.resetAll();
    }
    shadow.set(L3, 1);
  });

  it("granularity: set rounds outwards, reset wants whole groups", () => {
    const bitmap = new HBitmap({ size: L1, granularity: 2 });
    bitmap.set(0, 1);
    expect(bitmap.count).toBe(2);
    bitmap.set(2, 1);
    expect(bitmap.count).toBe(4);
    bitmap.set(0, 3);
    expect(bitmap.count).toBe(4);
    bitmap.reset(0, 2);
    expect(bitmap.count).toBe(2);
  });
});

describe("set and reset", () => {
  it("do nothing for an empty range, wherever it is", () => {
    const bitmap = new HBitmap({ size: 100, granularity: 8 });
    bitmap.set(0, 100);
    bitmap.set(100_000, 0);
    bitmap.reset(3, 0);
    expect(bitmap.count).toBe(104);
  });

  it("count a tail group in full, so the count may exceed the size", () => {
    const bitmap = new HBitmap({ size: 1001, granularity: 16 });
    bitmap.set(1000, 1);
    expect(bitmap.count).toBe(16);
    bitmap.set(0, 1001);
    expect(bitmap.count).toBe(1008);
    expect(bitmap.countRange(0, 1001)).toBe(1001);
  });

  it("accept a range up to the end of the last group but not beyond", () => {
    const bitmap = new HBitmap({ size: 1001, granularity: 16 });
    bitmap.set(1000, 8);
    expect(bitmap.count).toBe(16);
    expect(() => bitmap.set(1000, 9)).toThrow(RangeError);
    expect(() => bitmap.set(1008, 1)).toThrow(RangeError);
    bitmap.reset(992, 16);
    expect(bitmap.count).toBe(0);
  });

  it("reset refuses a start inside a group and an end inside one, before it clears anything", () => {
    const bitmap = new HBitmap({ size: 1001, granularity: 16 });
    bitmap.set(0, 1001);
    expect(() => bitmap.reset(1, 16)).toThrow(RangeError);
    expect(() => bitmap.reset(1, 1000)).toThrow(RangeError);
    expect(() => bitmap.reset(0, 15)).toThrow(RangeError);
    expect(() => bitmap.reset(992, 8)).toThrow(RangeError);
    expect(bitmap.count).toBe(1008);
  });

  it("reset accepts an unaligned end that is the end of the bitmap", () => {
    const bitmap = new HBitmap({ size: 1001, granularity: 16 });
    bitmap.set(0, 1001);
    bitmap.reset(992, 9);
    expect(bitmap.count).toBe(992);
    bitmap.reset(0, 1001);
    expect(bitmap.isEmpty).toBe(true);
  });

  it.each([-1, 0.5, Number.NaN, Infinity, 2 ** 53])("refuse %s as a position or a count", (bad) => {
    const bitmap = new HBitmap({ size: 100 });
    expect(() => bitmap.set(bad, 1)).toThrow(RangeError);
    expect(() => bitmap.set(0, bad)).toThrow(RangeError);
    expect(() => bitmap.reset(bad, 1)).toThrow(RangeError);
    expect(() => bitmap.reset(0, bad)).toThrow(RangeError);
    expect(() => bitmap.get(bad)).toThrow(RangeError);
    expect(bitmap.isEmpty).toBe(true);
  });

  it("get refuses an item at or beyond the size, even inside the last group", () => {
    const bitmap = new HBitmap({ size: 1001, granularity: 16 });
    expect(bitmap.get(1000)).toBe(false);
    expect(() => bitmap.get(1001)).toThrow(RangeError);
  });
});
