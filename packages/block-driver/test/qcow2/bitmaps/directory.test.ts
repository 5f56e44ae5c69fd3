import "../../support/seed.ts";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  bitmapTableEntries,
  bitmapTableEntry,
  encodeBitmapDirectory,
  encodeBitmapsExtension,
  parseBitmapDirectory,
  parseBitmapsExtension,
  type BitmapEntry,
} from "../../../src/drivers/qcow2/format/bitmap-directory.ts";
import { viewOf } from "../../../src/drivers/qcow2/format/u64.ts";
import { failure } from "../../support/graphs.ts";

const CLUSTER = 65536;

function entry(changes: Partial<BitmapEntry> = {}): BitmapEntry {
  return {
    tableOffset: 5 * CLUSTER,
    tableEntries: 1,
    flags: 2,
    type: 1,
    granularityBits: 16,
    name: "b0",
    extraData: new Uint8Array(0),
    ...changes,
  };
}

const names = fc
  .string({ unit: "grapheme", minLength: 1, maxLength: 40 })
  .filter((name) => !name.includes("\0"));

describe("the bitmap directory", () => {
  test("reads what it writes", () => {
    const entries = fc.uniqueArray(
      fc
        .record({
          tableOffset: fc.integer({ min: 1, max: 2 ** 30 }).map((cluster) => cluster * CLUSTER),
          tableEntries: fc.integer({ min: 1, max: 8192 }),
          flags: fc.constantFrom(0, 1, 2, 3),
          granularityBits: fc.integer({ min: 9, max: 31 }),
          name: names,
          extraData: fc.uint8Array({ maxLength: 20 }),
        })
        .map((fields) => entry({ ...fields, flags: fields.flags | (fields.extraData.length > 0 ? 4 : 0) })),
      { selector: ({ name }) => name, minLength: 1, maxLength: 20 },
    );
    fc.assert(
      fc.property(entries, (list) => {
        const bytes = encodeBitmapDirectory(list);
        expect(bytes.length % 8).toBe(0);
        expect(parseBitmapDirectory(bytes, list.length, CLUSTER, "image")).toEqual(list);
      }),
    );
  });

  test.each([
    ["another count", (bytes: Uint8Array) => bytes, 2],
    ["no table", (bytes: Uint8Array) => (bytes.fill(0, 0, 8), bytes), 1],
    ["a table that is not aligned", (bytes: Uint8Array) => ((bytes[7] = 1), bytes), 1],
    ["a table beyond exact numbers", (bytes: Uint8Array) => (bytes.fill(255, 0, 6), bytes), 1],
    ["a table of no entries", (bytes: Uint8Array) => (bytes.fill(0, 8, 12), bytes), 1],
    ["a table of too many entries", (bytes: Uint8Array) => ((bytes[8] = 9), bytes), 1],
    ["more than 512 MiB", (bytes: Uint8Array) => ((bytes[9] = 1), bytes), 1],
    ["unknown flags", (bytes: Uint8Array) => ((bytes[15] = 16), bytes), 1],
    ["an unknown type", (bytes: Uint8Array) => ((bytes[16] = 2), bytes), 1],
    ["a granularity of 256", (bytes: Uint8Array) => ((bytes[17] = 8), bytes), 1],
    ["a granularity of 4 GiB", (bytes: Uint8Array) => ((bytes[17] = 32), bytes), 1],
    ["no name", (bytes: Uint8Array) => (bytes.fill(0, 18, 20), bytes), 1],
    ["a name that is cut off", (bytes: Uint8Array) => ((bytes[19] = 200), bytes), 1],
    ["a name that is no text", (bytes: Uint8Array) => ((bytes[24] = 255), bytes), 1],
    ["a name with a NUL", (bytes: Uint8Array) => ((bytes[24] = 0), bytes), 1],
    ["extra data that must be understood", (bytes: Uint8Array) => ((bytes[23] = 4), bytes), 1],
    ["padding that is not zero", (bytes: Uint8Array) => ((bytes[31] = 1), bytes), 1],
    ["half an entry", (bytes: Uint8Array) => bytes.subarray(0, 16), 1],
    ["an entry too many", (bytes: Uint8Array) => Buffer.concat([bytes, bytes]), 1],
    ["G11: a name twice", (bytes: Uint8Array) => Buffer.concat([bytes, bytes]), 2],
  ])("G09: is refused with %s", async (_what, harm, count) => {
    const bytes = harm(encodeBitmapDirectory([entry()]));
    await failure("BLK_CORRUPT", () => parseBitmapDirectory(bytes, count, CLUSTER, "image"));
  });
});

describe("the bitmaps extension", () => {
  const good = { count: 3, directorySize: 96, directoryOffset: 7 * CLUSTER };

  test("reads what it writes", () => {
    expect(parseBitmapsExtension(encodeBitmapsExtension(good), CLUSTER, "image")).toEqual(good);
  });

  test.each([
    ["another length", (data: Uint8Array) => data.subarray(0, 16)],
    ["a reserved field", (data: Uint8Array) => ((data[7] = 1), data)],
    ["no bitmaps", (data: Uint8Array) => (data.fill(0, 0, 4), data)],
    ["65536 bitmaps", (data: Uint8Array) => ((data[1] = 1), data)],
    ["a directory of no bytes", (data: Uint8Array) => (data.fill(0, 8, 16), data)],
    ["a directory of too many bytes", (data: Uint8Array) => ((data[12] = 5), data)],
    ["a directory of 2^63 bytes", (data: Uint8Array) => ((data[8] = 128), data)],
    ["a directory that is not aligned", (data: Uint8Array) => ((data[23] = 8), data)],
    ["a directory in the header", (data: Uint8Array) => (data.fill(0, 16, 24), data)],
  ])("C08: is refused with %s", async (_what, harm) => {
    const data = harm(encodeBitmapsExtension(good));
    await failure("BLK_CORRUPT", () => parseBitmapsExtension(data, CLUSTER, "image"));
  });
});

describe("the table of a bitmap", () => {
  test.each([
    [0, 16, 65536, 0],
    [1, 16, 65536, 1],
    [65536 * 8 * 65536, 16, 65536, 1],
    [65536 * 8 * 65536 + 1, 16, 65536, 2],
    [4096, 9, 512, 1],
    [2 ** 40, 9, 512, 2 ** 40 / 512 / 8 / 512],
  ])("of %i bytes at 2^%i in clusters of %i has %i entries", (size, bits, cluster, expected) => {
    expect(bitmapTableEntries(size, bits, cluster)).toBe(expected);
  });

  test("G10: entries are zeroes, ones, or data; anything else is refused", async () => {
    const table = new Uint8Array(24);
    const view = viewOf(table);
    view.setBigUint64(8, 1n);
    view.setBigUint64(16, 0x30000n);
    expect([0, 1, 2].map((index) => bitmapTableEntry(table, index, CLUSTER, "image"))).toEqual([
      { kind: "zeroes" },
      { kind: "ones" },
      { kind: "data", offset: 0x30000 },
    ]);
    for (const wrong of [2n, 0x30001n, 0x30200n, 1n << 56n, 0x100n]) {
      view.setBigUint64(0, wrong);
      await failure("BLK_CORRUPT", () => bitmapTableEntry(table, 0, CLUSTER, "image"));
    }
  });
});
