import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { HBitmap, sha256 } from "../src/index.ts";
import { WORD_SIZES, walk } from "./shadow.ts";

function serialized(bitmap: HBitmap, start = 0, count = bitmap.size): Uint8Array {
  const bytes = new Uint8Array(bitmap.serializedSize(start, count));
  expect(bitmap.serialize(start, count, bytes)).toBe(bytes.length);
  return bytes;
}

/** The bytes of 64-bit little-endian words, made bit by bit. */
function bytesOf(bits: number, isSet: (bit: number) => boolean): Uint8Array {
  const bytes = new Uint8Array(Math.ceil(bits / 64) * 8);
  for (let bit = 0; bit < bits; bit += 1) {
    if (isSet(bit)) bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) | (1 << (bit & 7));
  }
  return bytes;
}

describe.each(WORD_SIZES)("serialization with words of $W bits", ({ L1, L2, L3 }) => {
  const positions = [0, 1, L1 - 1, L1, L2 - 1, L2, L2 + 1, L3 - 1];

  it("serialize/align: 64 groups, whatever the granularity", () => {
    expect(new HBitmap({ size: L3 * 2, granularity: 8 }).serializationAlign).toBe(64 * 8);
    expect(new HBitmap({ size: L3 }).serializationAlign).toBe(64);
  });

  it("serialize/basic: bytes equal the range and restore it into a clean bitmap", () => {
    for (const start of positions) {
      for (const length of positions) {
        const count = Math.min(length, L3 - start);
        const bitmap = new HBitmap({ size: L3 });
        bitmap.set(start, count);
        const bytes = serialized(bitmap);
        const wanted = bytesOf(L3, (bit) => bit >= start && bit < start + count);
        expect(Buffer.compare(bytes, wanted)).toBe(0);

        const restored = new HBitmap({ size: L3 });
        expect(restored.deserialize(0, L3, bytes)).toBe(bytes.length);
        expect(restored.count).toBe(count);
        const area = restored.nextDirtyArea(0);
        expect(area).toEqual(count === 0 ? undefined : { start, length: count });
      }
    }
  });

  it("serialize/part: each part holds exactly its bits, and the parts restore the whole", () => {
    const bitmap = new HBitmap({ size: L3 });
    for (const position of positions) bitmap.set(position, 1);
    const restored = new HBitmap({ size: L3 });
    restored.set(0, L3);
    for (let start = 0; start < L3; start += L2) {
      const part = serialized(bitmap, start, L2);
      const wanted = bytesOf(L2, (bit) => positions.includes(start + bit));
      expect(Buffer.compare(part, wanted)).toBe(0);
      restored.deserialize(start, L2, part);
      // Consistent after every part: what is loaded, then the rest as it was.
      expect(restored.count).toBe(
        positions.filter((position) => position < start + L2).length + L3 - start - L2,
      );
    }
    expect(walk(restored)).toEqual(positions);
  });

  it("serialize/zeroes: runs zeroed one after another, the walk begins at the next", () => {
    const bitmap = new HBitmap({ size: L3 });
    const run = Math.max(L1, 64);
    const runs = [0, run, L2, L3 - run];
    for (const start of runs) bitmap.set(start, L1);
    for (const [index, start] of runs.entries()) {
      expect(bitmap.iterate().next()).toBe(start);
      bitmap.deserializeZeroes(start, run);
      expect(bitmap.iterate().next()).toBe(runs[index + 1] ?? -1);
    }
    expect(bitmap.isEmpty).toBe(true);
  });
});

describe("the serialized form", () => {
  it("is cut at multiples of 64 groups and padded to 8 bytes", () => {
    const bitmap = new HBitmap({ size: 100 * 16 + 3, granularity: 16 });
    expect(bitmap.serializedSize(0, 1603)).toBe(16);
    expect(bitmap.serializedSize(0, 1024)).toBe(8);
    expect(bitmap.serializedSize(1024, 579)).toBe(8);
    expect(bitmap.serializedSize(0, 0)).toBe(0);
    expect(bitmap.serializedSize(7, 0)).toBe(0);
  });

  it("writes only its own bytes, wherever the buffer begins", () => {
    const bitmap = new HBitmap({ size: 33 });
    bitmap.set(0, 33);
    const bytes = new Uint8Array(32).fill(0xee);
    expect(bitmap.serialize(0, 33, bytes.subarray(3))).toBe(8);
    expect([...bytes.subarray(2, 12)]).toEqual([0xee, 255, 255, 255, 255, 1, 0, 0, 0, 0xee]);
    const restored = new HBitmap({ size: 33 });
    expect(restored.deserialize(0, 33, bytes.subarray(3))).toBe(8);
    expect(restored.count).toBe(33);
  });

  it("loads nothing beyond the end of the bitmap", () => {
    for (const size of [1, 31, 32, 33, 63, 64, 65, 1000]) {
      const ones = new HBitmap({ size });
      ones.deserializeOnes(0, size);
      const loaded = new HBitmap({ size });
      loaded.deserialize(0, size, new Uint8Array(loaded.serializedSize(0, size)).fill(0xff));
      for (const bitmap of [ones, loaded]) {
        expect(bitmap.count).toBe(size);
        expect(
          Buffer.compare(
            serialized(bitmap),
            bytesOf(size, () => true),
          ),
        ).toBe(0);
        bitmap.truncate(size + 200);
        expect(bitmap.nextDirty(size)).toBe(-1);
        expect(bitmap.nextZero(0)).toBe(size);
      }
    }
  });

  it("replaces a part and leaves its neighbours alone", () => {
    const bitmap = new HBitmap({ size: 640, granularity: 2 });
    bitmap.set(0, 640);
    bitmap.deserializeZeroes(128, 128);
    expect(bitmap.count).toBe(512);
    bitmap.deserialize(128, 128, new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]));
    expect(bitmap.nextDirtyArea(128, 256)).toEqual({ start: 128, length: 2 });
    bitmap.deserializeOnes(128, 128);
    expect(bitmap.count).toBe(640);
  });

  it("is refused for ranges that are not aligned or not inside, and short buffers, changing nothing", () => {
    const bitmap = new HBitmap({ size: 1603, granularity: 16 });
    bitmap.set(0, 1603);
    const bytes = new Uint8Array(64);
    const bad: readonly (readonly [number, number])[] = [
      [16, 1024],
      [0, 1023],
      [0, 1600],
      [0, 1604],
      [1024, 1024],
      [-1024, 1024],
      [0, -1],
    ];
    for (const [start, count] of bad) {
      expect(() => bitmap.serializedSize(start, count)).toThrow(RangeError);
      expect(() => bitmap.serialize(start, count, bytes)).toThrow(RangeError);
      expect(() => bitmap.deserialize(start, count, bytes)).toThrow(RangeError);
      expect(() => bitmap.deserializeZeroes(start, count)).toThrow(RangeError);
      expect(() => bitmap.deserializeOnes(start, count)).toThrow(RangeError);
    }
    expect(() => bitmap.serialize(0, 1603, new Uint8Array(15))).toThrow(RangeError);
    expect(() => bitmap.deserialize(0, 1603, new Uint8Array(15))).toThrow(RangeError);
    expect(bitmap.countRange(0, 1603)).toBe(1603);
  });

  it("does nothing for an empty range", () => {
    const bitmap = new HBitmap({ size: 100 });
    bitmap.set(0, 100);
    bitmap.deserializeZeroes(3, 0);
    expect(bitmap.deserialize(3, 0, new Uint8Array(0))).toBe(0);
    expect(bitmap.serialize(3, 0, new Uint8Array(0))).toBe(0);
    bitmap.resetAll();
    bitmap.deserializeOnes(3, 0);
    expect(bitmap.isEmpty).toBe(true);
  });

  it("works at granularities whose alignment exceeds every size", () => {
    const bitmap = new HBitmap({ size: Number.MAX_SAFE_INTEGER, granularity: 2 ** 52 });
    bitmap.set(2 ** 52, 1);
    expect([...serialized(bitmap)]).toEqual([2, 0, 0, 0, 0, 0, 0, 0]);
    bitmap.deserializeOnes(0, bitmap.size);
    expect(bitmap.count).toBe(2 ** 53);
  });
});

describe("sha256", () => {
  it("is the hash of the serialized bits", () => {
    const bitmap = new HBitmap({ size: 3_000_001, granularity: 2 });
    bitmap.set(5, 1_000_000);
    bitmap.set(3_000_000, 1);
    expect(sha256(bitmap)).toBe(createHash("sha256").update(serialized(bitmap)).digest("hex"));
  });

  // Answers of x-debug-block-dirty-bitmap-sha256 of qemu-storage-daemon 7.2 on a 64-bit host, for an image of
  // this size with a bitmap of 4 KiB granularity, before and after writes of these ranges over NBD.
  const writes: readonly (readonly [number, number])[] = [
    [0, 512],
    [5000 * 1024, 300_000],
    [64 * 4096 * 7 - 512, 1024],
    [104_857_600 - 512, 512],
  ];
  it.each([
    {
      size: 104_857_600,
      more: [],
      empty: "5a312281df4bd8dfbb4d4a94ad0bf44d01bb8cfced1206b90e21b4ca0568cdb1",
      written: "c7c280fc07b5db7645e5dbea4ebc4dc1201029ece80b39f29d1a221d31f7fa84",
      count: 319_488,
    },
    {
      size: 104_862_208,
      more: [[104_857_600, 4608]] as const,
      empty: "125cc4a765aed3bc28e10bff1aae4242c403bd65680a71e30036da1592a40f0d",
      written: "9810d7cb23eb97048033a33c269e5deff2cdb98cef9d98f385e0c714265d712a",
      count: 327_680,
    },
  ])("equals what QEMU says for $size bytes", ({ size, more, empty, written, count }) => {
    const bitmap = new HBitmap({ size, granularity: 4096 });
    expect(sha256(bitmap)).toBe(empty);
    for (const [start, length] of [...writes, ...more]) bitmap.set(start, length);
    expect(sha256(bitmap)).toBe(written);
    expect(bitmap.count).toBe(count);
  });

  it("has one word to hash even for a bitmap of nothing", () => {
    expect(sha256(new HBitmap({ size: 0 }))).toBe(
      createHash("sha256").update(new Uint8Array(8)).digest("hex"),
    );
  });
});
