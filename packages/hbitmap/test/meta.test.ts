import { describe, expect, it } from "vitest";
import { HBitmap } from "../src/index.ts";
import { walk } from "./shadow.ts";

describe("a meta bitmap", () => {
  it("marks the range of every set and reset that changed a bit", () => {
    const bitmap = new HBitmap({ size: 65_536, granularity: 16 });
    const meta = bitmap.createMeta(64);
    expect(meta.granularity).toBe(1024);
    bitmap.set(0, 1);
    bitmap.set(5000, 2000);
    expect(walk(meta)).toEqual([0, 4096, 5120, 6144]);
    meta.resetAll();
    bitmap.set(0, 1);
    bitmap.reset(32_768, 16);
    expect(meta.isEmpty).toBe(true);
    bitmap.reset(0, 16);
    expect(walk(meta)).toEqual([0]);
  });

  it("is not touched by resetAll, merge and loading", () => {
    const bitmap = new HBitmap({ size: 4096 });
    bitmap.set(0, 100);
    const meta = bitmap.createMeta(64);
    bitmap.resetAll();
    bitmap.deserializeOnes(0, 4096);
    const other = new HBitmap({ size: 4096, granularity: 2 });
    other.set(0, 10);
    bitmap.resetAll();
    bitmap.merge(other);
    expect(meta.isEmpty).toBe(true);
  });

  it("follows truncation and stops following when freed", () => {
    const bitmap = new HBitmap({ size: 4096 });
    const meta = bitmap.createMeta(64);
    bitmap.truncate(8192);
    expect(meta.size).toBe(8192);
    bitmap.set(8000, 1);
    expect(walk(meta)).toEqual([7936 + 64]);
    expect(() => bitmap.createMeta(64)).toThrow(TypeError);
    bitmap.freeMeta();
    bitmap.set(0, 1);
    expect(meta.get(0)).toBe(false);
    expect(bitmap.createMeta(1).isEmpty).toBe(true);
  });

  it("marks its last group for a set in the overhang of the bitmap's last group", () => {
    const bitmap = new HBitmap({ size: 1001, granularity: 16 });
    const meta = bitmap.createMeta(1);
    bitmap.set(1005, 1);
    expect(walk(meta)).toEqual([992]);
  });

  it("needs a power of two whose product with the granularity is at most 2^52", () => {
    const bitmap = new HBitmap({ size: 4096, granularity: 4096 });
    for (const bad of [0, 3, -2, 0.5, 2 ** 41]) expect(() => bitmap.createMeta(bad)).toThrow(RangeError);
    expect(bitmap.createMeta(2 ** 40).granularity).toBe(2 ** 52);
  });
});
