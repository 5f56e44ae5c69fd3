import { readFileSync } from "node:fs";
import * as zlib from "node:zlib";
import { describe, expect, test } from "vitest";
import { BlockError, ExtentFlag, ExtentList, type BlockErrorCode } from "../../../src/index.ts";
import { read, withImage, type OpenImage } from "../support/open.ts";
import { peek64, poke, poke64 } from "../support/poke.ts";
import { createImage } from "../support/create.ts";
import { scratchFiles } from "../support/scratch.ts";
import { AIM, BYSTANDER, DISK_BYTES, makeVictim, MIB, type Places } from "./victim.ts";

const at = scratchFiles();
const KIB = 1024;
const COPIED = 1n << 63n;
const COMPRESSED = 1n << 62n;

/** What a read of the aimed cluster finds: an error, or this byte throughout. */
type Found = BlockErrorCode | number;

interface MappingCase {
  readonly name: string;
  readonly create?: Readonly<Record<string, unknown>>;
  readonly damage: (places: Places) => void;
  readonly found: Found;
  /** Reading what the poke does not concern. Default: what was written there. */
  readonly bystander?: Found;
}

const EXTENDED = { clusterSize: 16 * KIB, extendedL2: true } as const;

function l1(entry: bigint | ((places: Places) => bigint)) {
  return (places: Places): void =>
    poke64(places.file, places.l1, typeof entry === "bigint" ? entry : entry(places));
}

function l2(entry: bigint | ((places: Places) => bigint)) {
  return (places: Places): void =>
    poke64(places.file, places.aimEntry, typeof entry === "bigint" ? entry : entry(places));
}

/** Stores `bytes` behind the image and maps the aimed cluster to them, compressed. */
function compressed(bytes: Uint8Array | ((clusterSize: number) => Uint8Array), sectors?: number) {
  return (places: Places): void => {
    const end = Math.ceil(readFileSync(places.file).length / 512) * 512;
    const stored = typeof bytes === "function" ? bytes(places.clusterSize) : bytes;
    poke(places.file, end, stored);
    const shift = BigInt(70 - Math.log2(places.clusterSize));
    const extra = BigInt((sectors ?? Math.max(1, Math.ceil(stored.length / 512))) - 1);
    poke64(places.file, places.aimEntry, COMPRESSED | (extra << shift) | BigInt(end));
  };
}

const deflate = (length: number, value: number): Uint8Array =>
  zlib.deflateRawSync(Buffer.alloc(length, value));

const CASES: readonly MappingCase[] = [
  // L1 and L2 entries.
  {
    name: "D01: an L2 table that is not aligned",
    damage: l1(COPIED | 0x42a00n),
    found: "BLK_CORRUPT",
    bystander: "BLK_CORRUPT",
  },
  {
    name: "D03: an L2 table beyond the file",
    damage: l1(COPIED | (1n << 40n)),
    found: "BLK_CORRUPT",
    bystander: "BLK_CORRUPT",
  },
  {
    name: "D03: an L2 table at 2^55",
    damage: l1(COPIED | (1n << 55n)),
    found: "BLK_CORRUPT",
    bystander: "BLK_CORRUPT",
  },
  {
    name: "D05: reserved bits of an L1 entry",
    damage: l1((p) => COPIED | 0x7f00_0000_0000_01ffn | BigInt(p.l2)),
    found: AIM.value,
  },
  {
    name: "D06: a cluster that is not aligned",
    damage: l2((p) => COPIED | BigInt(p.data + 0x2a00)),
    found: "BLK_CORRUPT",
  },
  {
    name: "D06: a cluster that is not aligned, with subclusters of 512 bytes",
    create: EXTENDED,
    damage: l2((p) => COPIED | BigInt(p.data + 512)),
    found: "BLK_CORRUPT",
  },
  {
    name: "D07: an unaligned place for a cluster of zeroes",
    damage: l2((p) => COPIED | BigInt(p.data + 0x2a00) | 1n),
    found: 0,
  },
  { name: "D11: a place beyond 2^53", damage: l2(0xbfff_ffff_ffff_0000n), found: "BLK_CORRUPT" },
  { name: "D11: a place far beyond the file", damage: l2(0x8000_00ff_ffff_0000n), found: 0 },
  {
    name: "D12: reserved bits of an L2 entry",
    damage: l2((p) => COPIED | 0x3f00_0000_0000_01fen | BigInt(p.data)),
    found: AIM.value,
  },
  {
    name: "D13: the zero flag in version 2",
    create: { version: "v2" },
    damage: l2((p) => COPIED | BigInt(p.data) | 1n),
    found: "BLK_CORRUPT",
  },
  {
    name: "D13: the zero flag alone in version 2",
    create: { version: "v2" },
    damage: l2(1n),
    found: "BLK_CORRUPT",
  },
  {
    name: "D18: a subcluster that is both allocated and zero",
    create: EXTENDED,
    damage: ({ file, aimEntry }) => poke64(file, aimEntry + 8, 0x8000_0000_ffff_ffffn),
    found: "BLK_CORRUPT",
  },
  {
    name: "D18: allocated subclusters without a cluster",
    create: EXTENDED,
    damage: l2(0n),
    found: "BLK_CORRUPT",
  },
  {
    name: "D21, J07: a cluster of which the file has one byte",
    damage: ({ file, aimEntry }) => {
      const end = Math.ceil(readFileSync(file).length / 65536) * 65536;
      poke(file, end, Buffer.from([0]));
      poke64(file, aimEntry, COPIED | BigInt(end));
    },
    found: 0,
  },
  {
    name: "D22: two guest clusters in one",
    damage: ({ file, aimEntry, bystanderEntry }) => poke64(file, aimEntry, peek64(file, bystanderEntry)),
    found: BYSTANDER.value,
  },
  // Compressed clusters.
  { name: "E01: compressed data beyond the file", damage: l2(COMPRESSED | (1n << 40n)), found: "EIO" },
  { name: "E01: compressed data at 0", damage: l2(COMPRESSED), found: "EIO" },
  { name: "E01: compressed data in the header", damage: l2(COMPRESSED | 100n), found: "EIO" },
  {
    name: "E02: as many sectors as can be said",
    damage: compressed((size) => deflate(size, 5), 256),
    found: 5,
  },
  {
    name: "E03: bits above 55 in the place of compressed data",
    create: { clusterSize: 4096 },
    damage: l2(COMPRESSED | (1n << 57n)),
    found: "BLK_CORRUPT",
  },
  {
    name: "E04: a stream that ends early",
    damage: compressed((size) => noise(size).subarray(0, 3000)),
    found: "EIO",
  },
  {
    name: "E04: a block type that does not exist",
    damage: compressed(Buffer.alloc(512, 0xff)),
    found: "EIO",
  },
  { name: "E04: no stream at all", damage: compressed(Buffer.alloc(512)), found: "EIO" },
  { name: "E05: a byte too few", damage: compressed((size) => deflate(size - 1, 5)), found: "EIO" },
  { name: "E06: a byte too many", damage: compressed((size) => deflate(size + 1, 5)), found: 5 },
  { name: "E06, I05: a bomb", damage: compressed((size) => deflate(200 * size, 5)), found: 5 },
  {
    name: "E08: other bytes behind the stream",
    damage: compressed((size) => Buffer.concat([deflate(size, 5), Buffer.alloc(700, 0xaa)])),
    found: 5,
  },
  {
    name: "E10: a zlib header",
    damage: compressed((size) => zlib.deflateSync(Buffer.alloc(size, 5))),
    found: "EIO",
  },
  // What is stored is not padded to a sector here, and it is the last thing in the file.
  {
    name: "E11: the file ends within the last sector",
    damage: compressed((size) => deflate(size, 5)),
    found: 5,
  },
];

/** Bytes that do not compress, as a stream or as they are. */
function noise(length: number, deflated = true): Uint8Array {
  const bytes = Buffer.alloc(length);
  let state = 12345;
  for (let index = 0; index < length; index += 1) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    bytes[index] = state >>> 16;
  }
  return deflated ? zlib.deflateRawSync(bytes) : bytes;
}

async function createLarge(file: string, size: number): Promise<void> {
  await createImage(file, size);
}

type Zstd = (input: Uint8Array, options?: Readonly<Record<string, unknown>>) => Buffer;

function isZstd(value: unknown): value is Zstd {
  return typeof value === "function";
}

function changed(bytes: Buffer, at: number, by: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = (copy[at] ?? 0) ^ by;
  return copy;
}

/** Compressed clusters of zstd images; none where the runtime has no zstd. */
function zstdCases(): readonly MappingCase[] {
  const found: unknown = Reflect.get(zlib, "zstdCompressSync");
  if (!isZstd(found)) {
    console.warn("SKIPPED: zstd clusters, this runtime has no zstd");
    return [];
  }
  const frame = (length: number, value: number, options?: Readonly<Record<string, unknown>>): Buffer =>
    found(Buffer.alloc(length, value), options);
  const skippable = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
  const checksum = { params: { [ZSTD_C_CHECKSUM_FLAG]: 1 } };
  const cases: readonly [string, (clusterSize: number) => Uint8Array, Found][] = [
    [
      "E08: other bytes behind the frame",
      (size) => Buffer.concat([frame(size, 5), Buffer.alloc(700, 0xaa)]),
      5,
    ],
    ["E09: two frames", (size) => Buffer.concat([frame(size / 2, 5), frame(size / 2, 5)]), 5],
    ["E09: a skippable frame first", (size) => Buffer.concat([skippable, frame(size, 5)]), 5],
    ["E09: skippable frames only", () => Buffer.concat([skippable, skippable]), "EIO"],
    ["E09: a checksum", (size) => frame(size, 5, checksum), 5],
    [
      "E09: a checksum that does not fit",
      (size) => {
        const bytes = frame(size, 5, checksum);
        return changed(bytes, bytes.length - 1, 1);
      },
      "EIO",
    ],
    [
      "E09: a dictionary",
      // Single segment, content size of four bytes, dictionary id of one byte: of a dictionary nobody has.
      (size) => {
        const plain = frame(size, 5);
        const fields = Buffer.alloc(6);
        fields[0] = 0b1010_0001;
        fields[1] = 7;
        fields.writeUInt32LE(size, 2);
        return Buffer.concat([plain.subarray(0, 4), fields, blocksOf(plain)]);
      },
      "EIO",
    ],
    [
      "E09: a window of 128 GiB",
      (size) =>
        Buffer.concat([frame(size, 5).subarray(0, 4), Buffer.from([0, 0xff]), blocksOf(frame(size, 5))]),
      "EIO",
    ],
    ["E04: no frame at all", () => Buffer.alloc(512, 0xff), "EIO"],
    ["E05: a byte too few", (size) => frame(size - 1, 5), "EIO"],
    ["E06: a byte too many", (size) => frame(size + 1, 5), 5],
    ["E06: twice a cluster", (size) => frame(2 * size, 5), 5],
    ["E06, I05: a bomb", (size) => frame(200 * size, 5), 5],
  ];
  return cases.map(([name, bytes, outcome]) => ({
    name: `${name} (zstd)`,
    create: { compressionType: "zstd" },
    damage: compressed(bytes),
    found: outcome,
  }));
}

const ZSTD_C_CHECKSUM_FLAG = 201;

/** The blocks of a frame that the compressor made: what follows its header. */
function blocksOf(frame: Buffer): Buffer {
  const descriptor = frame[4] ?? 0;
  const single = (descriptor & 0x20) !== 0;
  const sizeBytes = [single ? 1 : 0, 2, 4, 8][descriptor >>> 6] ?? 0;
  return frame.subarray(5 + (single ? 0 : 1) + sizeBytes);
}

async function find(image: OpenImage, offset: number): Promise<Found> {
  try {
    const bytes = await read(image.edge, offset, 4096);
    expect(new Set(bytes).size, "bytes that differ").toBe(1);
    return bytes[0] ?? -1;
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
    return error.code;
  }
}

describe("hostile mappings", () => {
  test.each([...CASES, ...zstdCases()])(
    "$name",
    async ({ create, damage, found, bystander = BYSTANDER.value }) => {
      const file = at("disk.qcow2");
      damage(await makeVictim(file, create));
      const before = readFileSync(file);
      await withImage(
        file,
        async (image) => {
          expect(await find(image, AIM.offset), "the aimed cluster").toBe(found);
          expect(await find(image, AIM.offset), "again").toBe(found);
          expect(await find(image, BYSTANDER.offset), "the bystander").toBe(bystander);
          // In one request with what is good, it fails as a whole or not at all.
          const whole = async (): Promise<void> => image.edge.read(0, [new Uint8Array(DISK_BYTES)]);
          if (typeof found === "number") await whole();
          else await expect(whole()).rejects.toMatchObject({ code: found });
          const corruptions = image.node.events.filter(({ type }) => type === "corruption");
          expect(corruptions.length, "I10: reports of corruption").toBe(found === "BLK_CORRUPT" ? 1 : 0);
        },
        { readOnly: true },
      );
      expect(Buffer.compare(readFileSync(file), before), "reading changes nothing").toBe(0);
    },
  );

  test.each([
    ["D02: an L2 table that is the L1 table", (p: Places) => p.l1],
    ["D03: an L2 table that is a refcount block", (p: Places) => p.refcountBlock],
    ["D03: an L2 table that is the refcount table", (p: Places) => p.refcountTable],
    ["D03: an L2 table that is data", (p: Places) => p.data],
  ])("%s is read as such or not at all", async (_name, place) => {
    const file = at("disk.qcow2");
    const places = await makeVictim(file);
    l1(COPIED | BigInt(place(places)))(places);
    const before = readFileSync(file);
    await withImage(
      file,
      async ({ edge }) => {
        for (let offset = 0; offset < DISK_BYTES; offset += 64 * KIB) {
          await read(edge, offset, 64 * KIB).catch((error: unknown) => {
            if (!(error instanceof BlockError)) throw error;
          });
        }
      },
      { readOnly: true },
    );
    expect(Buffer.compare(readFileSync(file), before)).toBe(0);
  });

  test("E07: distances of 32 KiB, which QEMU does not write", async () => {
    const file = at("disk.qcow2");
    const places = await makeVictim(file);
    const half = Buffer.from(noise(32 * KIB, false));
    const content = Buffer.concat([half, half]);
    compressed(zlib.deflateRawSync(content, { windowBits: 15 }))(places);
    await withImage(
      file,
      async ({ edge }) => {
        expect(Buffer.compare(await read(edge, 0, 64 * KIB), content)).toBe(0);
      },
      { readOnly: true },
    );
  });

  test("D20, J07: the file ends within an L2 table: what is not there is not allocated", async () => {
    const file = at("disk.qcow2");
    const places = await makeVictim(file);
    const bytes = readFileSync(file);
    const table = bytes.subarray(places.l2, places.l2 + 16);
    const end = Math.ceil(bytes.length / 65536) * 65536;
    poke(file, end, table);
    poke64(file, places.l1, COPIED | BigInt(end));
    await withImage(
      file,
      async (image) => {
        expect(await find(image, AIM.offset)).toBe(AIM.value);
        expect(await find(image, BYSTANDER.offset)).toBe(0);
      },
      { readOnly: true },
    );
  });

  test("D21: nothing is lent of what the file does not have", async () => {
    const file = at("disk.qcow2");
    const places = await makeVictim(file);
    const end = Math.ceil(readFileSync(file).length / 65536) * 65536;
    poke(file, end, Buffer.alloc(512, 7));
    poke64(file, places.aimEntry, COPIED | BigInt(end));
    poke64(file, places.aimEntry + 8, COPIED | BigInt(end + 65536));
    await withImage(
      file,
      async ({ node }) => {
        const lent = async (offset: number, length: number): Promise<unknown> => {
          let offer: unknown;
          await node.device.lend?.(offset, length, (_storage, at, bytes) => {
            offer = [at, bytes];
            return bytes;
          });
          return offer;
        };
        expect(await lent(0, 64 * KIB)).toEqual([end, 512]);
        expect(await lent(512, 1024)).toBeUndefined();
        expect(await lent(64 * KIB, 64 * KIB)).toBeUndefined();
      },
      { readOnly: true },
    );
  });

  test("what comes before a bad table is told first, and what is bad is an error", async () => {
    const file = at("disk.qcow2");
    // With clusters of 4 KiB a table maps 2 MiB: there are two.
    const places = await makeVictim(file, { clusterSize: 4096 });
    poke64(file, places.l1 + 8, COPIED | (1n << 40n));
    await withImage(
      file,
      async ({ edge }) => {
        const extents = new ExtentList();
        await edge.status(0, DISK_BYTES, extents);
        while (extents.next < 2 * MIB) await edge.status(extents.next, DISK_BYTES - extents.next, extents);
        expect(extents.next).toBe(2 * MIB);
        await expect(async () => edge.status(2 * MIB, MIB, extents)).rejects.toMatchObject({
          code: "BLK_CORRUPT",
        });
        // The table before it is in memory now.
        await edge.status(0, DISK_BYTES, extents);
        expect(extents.next).toBe(2 * MIB);
      },
      { readOnly: true },
    );
  });

  test("I03: a disk of 2 PiB is one extent, told without reading a table", async () => {
    const file = at("disk.qcow2");
    const size = 2 ** 51;
    await createLarge(file, size);
    await withImage(
      file,
      async ({ edge, node }) => {
        expect(node.size).toBe(size);
        const extents = new ExtentList();
        await edge.status(0, size, extents);
        expect(extents.count).toBe(1);
        expect(extents.next).toBe(size);
        expect(extents.flagsAt(0)).toBe(ExtentFlag.Deferred);
        expect(await read(edge, size - 4096, 4096)).toEqual(new Uint8Array(4096));
      },
      { readOnly: true },
    );
  });
});
