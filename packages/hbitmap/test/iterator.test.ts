import { describe, expect, it } from "vitest";
import { HBitmap } from "../src/index.ts";
import { Shadow, WORD_SIZES, walk } from "./shadow.ts";

describe.each(WORD_SIZES)("iteration with words of $W bits", ({ L1, L2, L3 }) => {
  it("iter/empty", () => {
    expect(walk(new HBitmap({ size: L1 }))).toEqual([]);
  });

  it("iter/partial: from each start exactly the tail is returned", () => {
    const shadow = new Shadow({ size: L3 });
    shadow.set(0, L3);
    const near = [1, L1 - 1, L1, 2 * L1 - 1, L2 - 1, L2, L2 + 1, L2 + L1, L2 + 2 * L1 - 1];
    const far = [2 * L2 - 1, 2 * L2, 2 * L2 + 1, 2 * L2 + L1, 2 * L2 + 2 * L1 - 1, L3 / 2, L3 - 1];
    for (const start of [...near, ...far]) shadow.check(start);
  });

  it("iter/granularity: each group is returned once, by its start", () => {
    const size = 131_072 * 128;
    const bitmap = new HBitmap({ size, granularity: 128 });
    expect(bitmap.iterate().next()).toBe(-1);
    bitmap.set(L2 * 128 + 60, 8);
    expect(walk(bitmap)).toEqual([L2 * 128]);
    expect(walk(bitmap, L2 * 128 + 127)).toEqual([L2 * 128]);
    expect(walk(bitmap, (L2 + 1) * 128)).toEqual([]);
    bitmap.set(size - 8, 8);
    expect(walk(bitmap)).toEqual([L2 * 128, 131_071 * 128]);
    expect(walk(bitmap, (L2 + 1) * 128)).toEqual([131_071 * 128]);
  });

  it("iter/iter_and_reset: everything reset under the iterator ends the walk calmly", () => {
    const bitmap = new HBitmap({ size: 2 * L1 });
    bitmap.set(0, 2 * L1);
    const iterator = bitmap.iterate(L1 - 1);
    expect(iterator.next()).toBe(L1 - 1);
    bitmap.resetAll();
    expect(iterator.next()).toBe(-1);
    expect(iterator.next()).toBe(-1);
  });
});

describe("an iterator while the bitmap changes", () => {
  // Three levels: 32 bits to a word, 1024 below one parent word, 32768 below one grandparent word.
  const size = 65_536;

  it("never returns a bit cleared in the word it has cached", () => {
    const bitmap = new HBitmap({ size });
    bitmap.set(0, 8);
    const iterator = bitmap.iterate();
    expect(iterator.next()).toBe(0);
    bitmap.reset(1, 5);
    expect(iterator.next()).toBe(6);
  });

  it("never returns a bit cleared elsewhere, in a near or a far word", () => {
    const bitmap = new HBitmap({ size });
    for (const bit of [0, 40, 2000, 50_000, 60_000]) bitmap.set(bit, 1);
    const iterator = bitmap.iterate();
    expect(iterator.next()).toBe(0);
    for (const bit of [40, 2000, 50_000]) bitmap.reset(bit, 1);
    expect(iterator.next()).toBe(60_000);
    expect(iterator.next()).toBe(-1);
  });

  it("does not return a bit set behind it until it is sought again", () => {
    const bitmap = new HBitmap({ size });
    bitmap.set(5000, 1);
    bitmap.set(6000, 1);
    const iterator = bitmap.iterate();
    expect(iterator.next()).toBe(5000);
    bitmap.set(100, 1);
    bitmap.set(4999, 1);
    expect(iterator.next()).toBe(6000);
    expect(iterator.next()).toBe(-1);
    iterator.seek(0);
    expect(iterator.next()).toBe(100);
  });

  it("does not return a bit set ahead in the word it has cached", () => {
    const bitmap = new HBitmap({ size });
    bitmap.set(0, 1);
    bitmap.set(31, 1);
    const iterator = bitmap.iterate();
    expect(iterator.next()).toBe(0);
    bitmap.set(10, 1);
    expect(iterator.next()).toBe(31);
    expect(iterator.next()).toBe(-1);
  });

  it("returns a bit set ahead in a word whose parent bit was set when the parent was cached", () => {
    const bitmap = new HBitmap({ size });
    bitmap.set(0, 1);
    bitmap.set(64, 1);
    bitmap.set(40_000, 1);
    const iterator = bitmap.iterate();
    expect(iterator.next()).toBe(0);
    bitmap.set(70, 1);
    // Its parent word is not cached yet, and the bit that stands for that is known.
    bitmap.set(40_100, 1);
    expect([iterator.next(), iterator.next()]).toEqual([64, 70]);
    expect([iterator.next(), iterator.next(), iterator.next()]).toEqual([40_000, 40_100, -1]);
  });

  it("returns a word that was emptied and filled again ahead of it", () => {
    const bitmap = new HBitmap({ size });
    bitmap.set(0, 1);
    bitmap.set(64, 1);
    bitmap.set(128, 1);
    const iterator = bitmap.iterate();
    expect(iterator.next()).toBe(0);
    bitmap.reset(128, 1);
    expect(iterator.next()).toBe(64);
    bitmap.set(129, 1);
    expect(iterator.next()).toBe(129);
  });

  it("may skip a bit set ahead in a word that was empty, and then finds it on the next sweep", () => {
    const bitmap = new HBitmap({ size });
    bitmap.set(0, 1);
    bitmap.set(500, 1);
    const iterator = bitmap.iterate();
    expect(iterator.next()).toBe(0);
    bitmap.set(200, 1);
    const rest = [iterator.next(), iterator.next(), iterator.next()].filter((start) => start >= 0);
    expect(rest).toContain(500);
    expect(rest.every((start) => start === 200 || start === 500)).toBe(true);
    expect(walk(bitmap)).toEqual([0, 200, 500]);
  });

  it("ends calmly after resetAll and goes on with what is set afterwards only by seeking", () => {
    const bitmap = new HBitmap({ size });
    bitmap.set(0, size);
    const iterator = bitmap.iterate(1234);
    expect(iterator.next()).toBe(1234);
    bitmap.resetAll();
    expect(iterator.next()).toBe(-1);
    for (const bit of [7, 1250, 5000, 60_000]) bitmap.set(bit, 1);
    expect(iterator.next()).toBe(-1);
    iterator.seek(0);
    expect([iterator.next(), iterator.next()]).toEqual([7, 1250]);
  });

  it("keeps two walks over one bitmap apart", () => {
    const bitmap = new HBitmap({ size });
    bitmap.set(10, 3);
    const one = bitmap.iterate();
    const two = bitmap.iterate(11);
    expect([one.next(), two.next(), one.next(), two.next()]).toEqual([10, 11, 11, 12]);
  });
});

describe("where an iterator may start", () => {
  it("is any item of the bitmap's groups", () => {
    const bitmap = new HBitmap({ size: 1001, granularity: 16 });
    bitmap.set(1000, 1);
    expect(walk(bitmap, 1000)).toEqual([992]);
    expect(walk(bitmap, 1007)).toEqual([992]);
    for (const first of [1008, -1, 0.5, Number.NaN]) {
      expect(() => bitmap.iterate(first)).toThrow(RangeError);
      expect(() => bitmap.iterate().seek(first)).toThrow(RangeError);
    }
  });

  it("is 0 for a bitmap of nothing", () => {
    expect(new HBitmap({ size: 0 }).iterate().next()).toBe(-1);
    expect(() => new HBitmap({ size: 0 }).iterate(1)).toThrow(RangeError);
  });

  it("leaves the iterator alone when refused", () => {
    const bitmap = new HBitmap({ size: 10 });
    bitmap.set(0, 10);
    const iterator = bitmap.iterate(4);
    expect(() => iterator.seek(10)).toThrow(RangeError);
    expect(iterator.next()).toBe(4);
  });
});
