import { describe, expect, it } from "vitest";
import { HBitmap } from "../src/index.ts";
import { walk } from "./shadow.ts";

const size = 100_003;

function bitmapOf(granularity: number, ...ranges: readonly (readonly [number, number])[]): HBitmap {
  const bitmap = new HBitmap({ size, granularity });
  for (const [start, count] of ranges) bitmap.set(start, count);
  return bitmap;
}

function union(a: HBitmap, b: HBitmap): Set<number> {
  return new Set([...walk(a), ...walk(b)]);
}

describe("merge", () => {
  const left: readonly (readonly [number, number])[] = [
    [0, 3],
    [40_000, 5000],
    [size - 1, 1],
  ];
  const right: readonly (readonly [number, number])[] = [
    [2, 70],
    [44_000, 3000],
    [70_000, 1],
  ];

  it("is the union, and leaves the sources as they were", () => {
    const a = bitmapOf(1, ...left);
    const b = bitmapOf(1, ...right);
    const result = bitmapOf(1, [9000, 100]);
    const [countA, countB] = [a.count, b.count];
    HBitmap.merge(a, b, result);
    expect(new Set(walk(result))).toEqual(union(a, b));
    expect(result.count).toBe(union(a, b).size);
    expect([a.count, b.count]).toEqual([countA, countB]);
  });

  it.each([1, 2, 64, 4096])("may put the result into either source, granularity %i", (granularity) => {
    const a = bitmapOf(granularity, ...left);
    const b = bitmapOf(granularity, ...right);
    const wanted = [...union(a, b)].sort((x, y) => x - y);

    const intoA = bitmapOf(granularity, ...left);
    HBitmap.merge(intoA, b, intoA);
    expect(walk(intoA)).toEqual(wanted);
    expect(intoA.count).toBe(wanted.length * granularity);

    const intoB = bitmapOf(granularity, ...right);
    HBitmap.merge(a, intoB, intoB);
    expect(walk(intoB)).toEqual(wanted);
    expect(intoB.count).toBe(wanted.length * granularity);
  });

  it("of a bitmap with itself is itself", () => {
    const a = bitmapOf(16, ...left);
    const wanted = walk(a);
    a.merge(a);
    expect(walk(a)).toEqual(wanted);
    const result = new HBitmap({ size, granularity: 16 });
    HBitmap.merge(a, a, result);
    expect(walk(result)).toEqual(wanted);
    expect(result.count).toBe(a.count);
  });

  it.each([
    { from: 1, into: 4096 },
    { from: 4096, into: 1 },
    { from: 16, into: 512 },
    { from: 512, into: 16 },
  ])("rounds outwards from granularity $from to $into", ({ from, into }) => {
    const source = bitmapOf(from, ...left);
    const target = bitmapOf(into, ...right);
    const items = new Uint8Array(size);
    for (let item = 0; item < size; item += 1) items[item] = source.get(item) || target.get(item) ? 1 : 0;
    target.merge(source);
    for (let group = 0; group * into < size; group += 1) {
      const end = Math.min(size, (group + 1) * into);
      const any = items.subarray(group * into, end).includes(1);
      const got = target.countRange(group * into, into);
      if (got !== (any ? end - group * into : 0)) expect.fail(`group ${group} has ${got} dirty items`);
    }
    expect(target.count).toBe(walk(target).length * into);
  });

  it("takes three granularities at once", () => {
    const result = bitmapOf(64, [90_000, 1]);
    HBitmap.merge(bitmapOf(1, [10, 1]), bitmapOf(1024, [5000, 1]), result);
    expect(result.nextDirtyArea(0)).toEqual({ start: 0, length: 64 });
    expect(result.nextDirtyArea(64)).toEqual({ start: 4096, length: 1024 });
    expect(result.count).toBe(64 + 1024);
  });

  it("with empty sources is empty, or the other source", () => {
    const result = bitmapOf(1, [5, 5]);
    HBitmap.merge(bitmapOf(1), bitmapOf(16), result);
    expect(result.isEmpty).toBe(true);
    HBitmap.merge(bitmapOf(1), bitmapOf(1, [7, 2]), result);
    expect(walk(result)).toEqual([7, 8]);
  });

  it("of bitmaps of nothing is nothing, whatever the granularities", () => {
    const a = new HBitmap({ size: 0 });
    a.merge(new HBitmap({ size: 0, granularity: 16 }));
    expect(a.isEmpty).toBe(true);
  });

  it("refuses other sizes and changes nothing", () => {
    const a = bitmapOf(1, ...left);
    const result = bitmapOf(1, [5, 5]);
    const other = new HBitmap({ size: size + 1 });
    expect(() => a.merge(other)).toThrow(RangeError);
    expect(() => HBitmap.merge(a, other, result)).toThrow(RangeError);
    expect(() => HBitmap.merge(other, a, result)).toThrow(RangeError);
    expect(() => HBitmap.merge(a, a, other)).toThrow(RangeError);
    expect(walk(result)).toEqual([5, 6, 7, 8, 9]);
  });
});
