import { describe, expect, it } from "vitest";
import { type DirtyArea, type DirtyStatus, HBitmap } from "../src/index.ts";
import { Shadow, WORD_SIZES } from "./shadow.ts";

type Size = (typeof WORD_SIZES)[number];

/** Nothing, one bit, a run over a word edge, a tail, everything: each built on the one before. */
function patterns({ L1, L2, L3 }: Size): readonly (readonly [number, number])[] {
  return [
    [0, 0],
    [L2, 1],
    [L2 + 5, L1],
    [2 * L2, L3 - 2 * L2],
    [0, L3],
  ];
}

function starts({ L1, L2, L3 }: Size): readonly number[] {
  const low = [0, 1, L1 - 1, L1, L2 - 1, L2, L2 + 1, L2 + 5, L2 + L1, L2 + L1 + 5, 2 * L2 - 1, 2 * L2];
  return [...low, 2 * L2 + 1, L3 / 2, L3 - 1];
}

function counts({ L1, L2, L3 }: Size): readonly number[] {
  return [0, 1, 2, 5, L1 - 1, L1, L1 + 1, L2, L2 + 5, L3];
}

/** Truth in one array per pattern: the next item of either state at or after each item, or the size. */
function nextByScan(shadow: Shadow, dirty: boolean): Float64Array {
  const next = new Float64Array(shadow.size + 1).fill(shadow.size);
  for (let item = shadow.size - 1; item >= 0; item -= 1) {
    next[item] = shadow.dirty(item) === dirty ? item : (next[item + 1] ?? shadow.size);
  }
  return next;
}

function within(next: Float64Array, start: number, end: number): number {
  const found = next[start] ?? Infinity;
  return found < end ? found : -1;
}

describe.each(WORD_SIZES)("search with words of $W bits", (size) => {
  const { L1, L2, L3 } = size;

  it.each([0, 4])("next_zero/next_x_%i: next dirty and next clean agree with a naive scan", (log2) => {
    const granularity = 2 ** log2;
    const shadow = new Shadow({ size: L3, granularity });
    for (const [start, count] of patterns(size)) {
      shadow.set(start, count);
      const dirty = nextByScan(shadow, true);
      const clean = nextByScan(shadow, false);
      for (const from of starts(size)) {
        expect(shadow.bitmap.nextDirty(from)).toBe(within(dirty, from, L3));
        expect(shadow.bitmap.nextZero(from)).toBe(within(clean, from, L3));
        for (const length of counts(size)) {
          const end = Math.min(L3, from + length);
          expect(shadow.bitmap.nextDirty(from, length)).toBe(within(dirty, from, end));
          expect(shadow.bitmap.nextZero(from, length)).toBe(within(clean, from, end));
        }
      }
    }
  });

  it("next_zero/next_x_after_truncate: the new half is clean", () => {
    const bitmap = new HBitmap({ size: L1 });
    bitmap.truncate(2 * L1);
    bitmap.set(0, L1);
    expect(bitmap.nextZero(0)).toBe(L1);
    expect(bitmap.nextDirty(L1)).toBe(-1);
  });

  it.each([0, 1, 4])("next_dirty_area/next_dirty_area_%i: areas agree with a naive scan", (log2) => {
    const granularity = 2 ** log2;
    const shadow = new Shadow({ size: L3, granularity });
    const area: DirtyArea = { start: -7, length: -7 };
    for (const [start, count] of patterns(size)) {
      shadow.set(start, count);
      const dirty = nextByScan(shadow, true);
      const clean = nextByScan(shadow, false);
      for (const from of starts(size)) {
        for (const length of counts(size)) {
          for (const most of [1, 3, 5, 10, L1, L3]) {
            const end = Math.min(L3, from + length);
            const first = within(dirty, from, end);
            const got = shadow.bitmap.nextDirtyArea(from, from + length, most, area);
            if (first < 0) {
              expect(got).toBeUndefined();
            } else {
              expect(got).toBe(area);
              const stop = Math.min(clean[first] ?? L3, end, first + most);
              expect(area).toEqual({ start: first, length: stop - first });
            }
          }
        }
      }
    }
  });

  it("next_dirty_area/next_dirty_area_after_truncate: a bit set in the new half is found", () => {
    const bitmap = new HBitmap({ size: L1 });
    bitmap.truncate(2 * L1);
    bitmap.set(L1 + 1, 1);
    expect(bitmap.nextDirtyArea(0)).toEqual({ start: L1 + 1, length: 1 });
  });

  it("countRange and status agree with a naive scan", () => {
    const shadow = new Shadow({ size: L2 + 11, granularity: 8 });
    for (const [start, count] of [
      [3, 1],
      [L1 * 8 - 1, 2],
      [L2 - 5, 16],
    ] as const) {
      shadow.set(start, count);
      for (const from of [0, 3, 8, 9, L1 * 8 - 1, L1 * 8 + 7, L2 - 8, L2 + 10]) {
        for (const length of [1, 2, 8, 9, L1 * 9, L2]) {
          const end = Math.min(shadow.size, from + length);
          let dirty = 0;
          for (let item = from; item < end; item += 1) dirty += shadow.dirty(item) ? 1 : 0;
          expect(shadow.bitmap.countRange(from, length)).toBe(dirty);
          const state = shadow.dirty(from);
          const change = shadow.next(from, end, !state);
          expect(shadow.bitmap.status(from, end - from)).toEqual({
            dirty: state,
            length: (change < 0 ? end : change) - from,
          });
        }
      }
    }
  });
});

describe("search results", () => {
  it("begin at the asked item when its group is dirty, even in mid-group", () => {
    const bitmap = new HBitmap({ size: 1000, granularity: 16 });
    bitmap.set(32, 40);
    expect(bitmap.nextDirty(40)).toBe(40);
    expect(bitmap.nextDirtyArea(40)).toEqual({ start: 40, length: 40 });
    expect(bitmap.nextZero(40)).toBe(80);
    expect(bitmap.nextZero(85)).toBe(85);
  });

  it("are clipped to the size, which may be in mid-group", () => {
    const bitmap = new HBitmap({ size: 1001, granularity: 16 });
    bitmap.set(992, 9);
    expect(bitmap.nextDirtyArea(0, 5000)).toEqual({ start: 992, length: 9 });
    expect(bitmap.nextDirty(1001)).toBe(-1);
    expect(bitmap.nextDirty(9000, 10)).toBe(-1);
    expect(bitmap.nextZero(992, 100)).toBe(-1);
    expect(bitmap.nextZero(9000)).toBe(-1);
    expect(bitmap.countRange(990, 5000)).toBe(9);
    expect(bitmap.countRange(9000, 1)).toBe(0);
    expect(bitmap.status(992, 9)).toEqual({ dirty: true, length: 9 });
  });

  it("leave the reusable object alone when nothing is found, and use it otherwise", () => {
    const bitmap = new HBitmap({ size: 100 });
    const area: DirtyArea = { start: 5, length: 6 };
    expect(bitmap.nextDirtyArea(0, 100, 100, area)).toBeUndefined();
    expect(area).toEqual({ start: 5, length: 6 });
    const status: DirtyStatus = { dirty: true, length: -1 };
    expect(bitmap.status(10, 20, status)).toBe(status);
    expect(status).toEqual({ dirty: false, length: 20 });
  });

  it("are none for an empty or backward range", () => {
    const bitmap = new HBitmap({ size: 100 });
    bitmap.set(0, 100);
    expect(bitmap.nextDirty(5, 0)).toBe(-1);
    expect(bitmap.nextZero(5, 0)).toBe(-1);
    expect(bitmap.nextDirtyArea(5, 5)).toBeUndefined();
    expect(bitmap.nextDirtyArea(50, 5)).toBeUndefined();
    expect(bitmap.countRange(5, 0)).toBe(0);
  });

  it("refuse negative positions, a limit of 0 and a status outside the bitmap", () => {
    const bitmap = new HBitmap({ size: 100, granularity: 16 });
    expect(() => bitmap.nextDirty(-1)).toThrow(RangeError);
    expect(() => bitmap.nextZero(-1)).toThrow(RangeError);
    expect(() => bitmap.nextDirty(0, -1)).toThrow(RangeError);
    expect(() => bitmap.nextDirtyArea(-1)).toThrow(RangeError);
    expect(() => bitmap.nextDirtyArea(0, -1)).toThrow(RangeError);
    expect(() => bitmap.nextDirtyArea(0, 10, 0)).toThrow(RangeError);
    expect(() => bitmap.countRange(0, -1)).toThrow(RangeError);
    expect(() => bitmap.status(0, 0)).toThrow(RangeError);
    expect(() => bitmap.status(90, 11)).toThrow(RangeError);
    expect(() => bitmap.status(100, 1)).toThrow(RangeError);
  });
});
