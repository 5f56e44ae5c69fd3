import { describe, expect, it } from "vitest";
import { HBitmap } from "../src/index.ts";
import { Shadow, WORD_SIZES } from "./shadow.ts";

/** Sets the bits around both ends of the change, truncates, and compares what is left. */
function truncateBy(size: number, difference: number, granularity: number): void {
  const shadow = new Shadow({ size, granularity });
  const after = size + difference;
  const kept = Math.min(size, after);
  for (const item of [0, kept - 1, kept, size - 1]) {
    if (item >= 0 && item < size) shadow.set(item, 1);
  }
  shadow.truncate(after);
  shadow.checkEveryGet();
  // New space is clean and usable, and what was cut off does not come back.
  if (after > 0) shadow.set(after - 1, 1);
  shadow.truncate(size);
  shadow.checkEveryGet();
}

describe.each(WORD_SIZES)("truncate with words of $W bits", ({ W, L1, L2 }) => {
  const longBytes = W / 8;
  it.each([
    { name: "nop", size: L2, by: 0, granularity: 1 },
    { name: "grow/negligible", size: L2 - 1, by: 1, granularity: 2 },
    { name: "shrink/negligible", size: L2, by: -1, granularity: 2 },
    { name: "grow/tiny", size: L2 - 2, by: 1, granularity: 2 },
    { name: "shrink/tiny", size: L2 - 1, by: -1, granularity: 2 },
    { name: "grow/small", size: L2 + 1, by: longBytes / 2, granularity: 1 },
    { name: "shrink/small", size: L2, by: -longBytes / 2, granularity: 1 },
    { name: "grow/medium", size: L2 - 1, by: longBytes / 2, granularity: 1 },
    { name: "shrink/medium", size: L2 + 1, by: -longBytes / 2, granularity: 1 },
    { name: "grow/large", size: L2, by: 8 * longBytes, granularity: 1 },
    { name: "shrink/large", size: L2, by: -8 * longBytes, granularity: 1 },
    { name: "grow/another level", size: L1, by: L2, granularity: 1 },
    { name: "shrink/to one level", size: L2 + L1, by: -L2, granularity: 1 },
    { name: "shrink/to nothing", size: L2, by: -L2, granularity: 4 },
    { name: "grow/from nothing", size: 0, by: L2, granularity: 4 },
  ])("truncate/$name", ({ size, by, granularity }) => {
    truncateBy(size, by, granularity);
  });
});

describe("truncate", () => {
  it("keeps the bit of a group that straddles the new end", () => {
    const bitmap = new HBitmap({ size: 64, granularity: 16 });
    bitmap.set(0, 64);
    bitmap.truncate(17);
    expect(bitmap.count).toBe(32);
    expect(bitmap.get(16)).toBe(true);
    bitmap.truncate(64);
    expect(bitmap.get(31)).toBe(true);
    expect(bitmap.get(32)).toBe(false);
  });

  it("changes only the size when the number of groups stays", () => {
    const bitmap = new HBitmap({ size: 17, granularity: 16 });
    bitmap.set(16, 1);
    const iterator = bitmap.iterate();
    bitmap.truncate(32);
    expect(bitmap.size).toBe(32);
    expect(bitmap.countRange(0, 32)).toBe(16);
    expect(iterator.next()).toBe(16);
  });

  it("refuses a bad size and leaves everything as it was", () => {
    const bitmap = new HBitmap({ size: 1000 });
    const meta = bitmap.createMeta(8);
    bitmap.set(0, 1000);
    for (const size of [-1, 1.5, Number.NaN, 2 ** 53, 2 ** 36]) {
      expect(() => bitmap.truncate(size)).toThrow(RangeError);
    }
    expect(bitmap.size).toBe(1000);
    expect(meta.size).toBe(1000);
    expect(bitmap.count).toBe(1000);
  });

  it("voids an iterator when the number of groups changes, until it seeks again", () => {
    const bitmap = new HBitmap({ size: 100_000 });
    bitmap.set(0, 100_000);
    const iterator = bitmap.iterate();
    expect(iterator.next()).toBe(0);
    bitmap.truncate(40);
    expect(() => iterator.next()).toThrow(TypeError);
    iterator.seek(38);
    expect([iterator.next(), iterator.next(), iterator.next()]).toEqual([38, 39, -1]);
  });
});
