import { readFileSync, writeFileSync } from "node:fs";
import * as zlib from "node:zlib";
import { describe, expect, test } from "vitest";
import { ExtentFlag, ExtentList, qcow2Stats } from "../../../src/index.ts";
import { failure } from "../../support/graphs.ts";
import { checkFile } from "../support/check.ts";
import { createImage } from "../support/create.ts";
import { openImage, read, withImage } from "../support/open.ts";
import { peek64, poke, poke16, poke64 } from "../support/poke.ts";
import { scratchFiles } from "../support/scratch.ts";
import { AIM, BYSTANDER, DISK_BYTES, makeVictim, MIB, type Places } from "./victim.ts";

const at = scratchFiles();
const KIB = 1024;
const COPIED = 1n << 63n;
const COMPRESSED = 1n << 62n;
const OFFSET = 0x00ff_ffff_ffff_fe00n;

/** The refcount of the cluster at a host offset, in refcounts of 16 bits. */
function refcountOf({ file, refcountBlock, clusterSize }: Places, offset: number): number {
  return readFileSync(file).readUInt16BE(refcountBlock + (2 * offset) / clusterSize);
}

describe("flags that do not agree with refcounts", () => {
  test("D04: two L1 entries of one L2 table: read as it is, told by a check, and repaired", async () => {
    const places = await makeVictim(at("disk.qcow2"), { clusterSize: 4096 });
    const { file, l1 } = places;
    // With clusters of 4 KiB a table maps 2 MiB: the second half of the disk is the first one again.
    poke64(file, l1 + 8, peek64(file, l1));
    await withImage(
      file,
      async ({ edge }) => {
        expect((await read(edge, 2 * MIB + AIM.offset, 1))[0]).toBe(AIM.value);
        expect((await read(edge, 2 * MIB + BYSTANDER.offset, 1))[0]).toBe(BYSTANDER.value);
      },
      { readOnly: true },
    );
    expect((await checkFile(file)).corruptions).toBeGreaterThan(0);
    expect(await checkFile(file, { repair: "all" })).toMatchObject({ corruptions: 0, leaks: 0 });
    // Now the two halves can be changed for themselves. Who is left alone with a cluster is not told so by a flag.
    await withImage(file, async ({ edge }) => edge.write(2 * MIB, [Buffer.alloc(4096, 9)]));
    expect(await checkFile(file, { repair: "all" })).toMatchObject({
      corruptions: 0,
      leaks: 0,
      leaksFixed: 0,
    });
    await withImage(
      file,
      async ({ edge }) => {
        expect((await read(edge, AIM.offset, 1))[0]).toBe(AIM.value);
        expect((await read(edge, 2 * MIB, 1))[0]).toBe(9);
      },
      { readOnly: true },
    );
  });

  test("D14: a cluster marked copied that is counted twice: a check tells, and a repair makes it safe", async () => {
    const places = await makeVictim(at("disk.qcow2"));
    const { file, l2, data, refcountBlock, clusterSize } = places;
    // A second guest cluster in the same place, as a snapshot would be; the flag stays.
    poke64(file, l2 + 8 * 5, COPIED | BigInt(data));
    poke16(file, refcountBlock + (2 * data) / clusterSize, 2);
    expect((await checkFile(file)).corruptions).toBeGreaterThan(0);
    expect(await checkFile(file, { repair: "all" })).toMatchObject({ corruptions: 0 });
    await withImage(file, async ({ edge }) => {
      await edge.write(AIM.offset, [Buffer.alloc(64 * KIB, 9)]);
      expect((await read(edge, 5 * 64 * KIB, 1))[0]).toBe(AIM.value);
    });
    expect(await checkFile(file, { repair: "all" })).toMatchObject({
      corruptions: 0,
      leaks: 0,
      leaksFixed: 0,
    });
    await withImage(
      file,
      async ({ edge }) => {
        expect((await read(edge, AIM.offset, 1))[0]).toBe(9);
        expect((await read(edge, 5 * 64 * KIB, 1))[0]).toBe(AIM.value);
      },
      { readOnly: true },
    );
  });

  test("D15: a cluster of one reference that is not marked copied: copied once, and the old one freed", async () => {
    const places = await makeVictim(at("disk.qcow2"));
    const { file, l2, data } = places;
    poke64(file, l2, BigInt(data));
    await withImage(file, async ({ edge, node }) => {
      await edge.write(1000, [Buffer.alloc(512, 9)]);
      await edge.flush();
      const copied = qcow2Stats(node.device)?.copiedBytes ?? 0;
      expect(copied).toBeGreaterThanOrEqual(64 * KIB - 512);
      expect(copied).toBeLessThanOrEqual(64 * KIB);
      await edge.write(3000, [Buffer.alloc(512, 8)]);
      expect(qcow2Stats(node.device)?.copiedBytes).toBe(copied);
    });
    const now = peek64(file, l2);
    expect(now & COPIED).toBe(COPIED);
    expect(Number(now & OFFSET)).not.toBe(data);
    expect(refcountOf(places, data)).toBe(0);
    expect(await checkFile(file)).toMatchObject({ corruptions: 0, leaks: 0 });
    await withImage(
      file,
      async ({ edge }) => {
        const expected = Buffer.alloc(64 * KIB, AIM.value)
          .fill(9, 1000, 1512)
          .fill(8, 3000, 3512);
        expect(Buffer.compare(await read(edge, 0, 64 * KIB), expected)).toBe(0);
      },
      { readOnly: true },
    );
  });

  test("D15: an L2 table of one reference that is not marked copied, likewise", async () => {
    const places = await makeVictim(at("disk.qcow2"));
    const { file, l1, l2 } = places;
    poke64(file, l1, BigInt(l2));
    await withImage(file, async ({ edge }) => edge.write(1000, [Buffer.alloc(512, 9)]));
    expect(peek64(file, l1) & COPIED).toBe(COPIED);
    expect(Number(peek64(file, l1) & OFFSET)).not.toBe(l2);
    expect(refcountOf(places, l2)).toBe(0);
    expect(await checkFile(file)).toMatchObject({ corruptions: 0, leaks: 0 });
  });
});

/** Stores deflated clusters one behind the other from `host` on, and maps guest clusters to them from the first on. */
function storeCompressed({ file, l2, clusterSize }: Places, host: number, values: readonly number[]): number {
  let end = host;
  for (const [index, value] of values.entries()) {
    const stored = zlib.deflateRawSync(Buffer.alloc(clusterSize, value));
    poke(file, end, stored);
    const sectors = Math.floor((end + stored.length - 1) / 512) - Math.floor(end / 512);
    const shift = BigInt(70 - Math.log2(clusterSize));
    poke64(file, l2 + 8 * index, COMPRESSED | (BigInt(sectors) << shift) | BigInt(end));
    end += stored.length;
  }
  return end;
}

describe("compressed clusters", () => {
  test("D16: marked copied: read, told by a check, and overwritten by a cluster of its own", async () => {
    const places = await makeVictim(at("disk.qcow2"));
    const { file, l2, data } = places;
    storeCompressed(places, data, [0x55]);
    expect(await checkFile(file)).toMatchObject({ corruptions: 0, leaks: 0 });
    poke64(file, l2, peek64(file, l2) | COPIED);
    expect((await checkFile(file)).corruptions).toBe(1);
    await withImage(file, async ({ edge }) => {
      expect((await read(edge, 100, 1))[0]).toBe(0x55);
      await edge.write(1000, [Buffer.alloc(512, 9)]);
      expect(Array.from(await read(edge, 999, 2))).toEqual([0x55, 9]);
    });
    expect(Number(peek64(file, l2) & OFFSET)).not.toBe(data);
    expect(await checkFile(file)).toMatchObject({ corruptions: 0, leaks: 0 });
  });

  test("D19: with subclusters, the bitmap beside them means nothing", async () => {
    const file = at("disk.qcow2");
    const places = await makeVictim(file, { extendedL2: true, clusterSize: 16 * KIB });
    const stored = zlib.deflateRawSync(Buffer.alloc(16 * KIB, 0x55));
    poke(file, places.data, stored);
    poke64(file, places.aimEntry, COMPRESSED | BigInt(places.data));
    poke64(file, places.aimEntry + 8, 0xdead_beef_dead_beefn);
    await withImage(
      file,
      async ({ edge }) => {
        const extents = new ExtentList();
        await edge.status(0, 16 * KIB, extents);
        expect([extents.count, extents.lengthAt(0)]).toEqual([1, 16 * KIB]);
        expect(extents.flagsAt(0) & (ExtentFlag.Zero | ExtentFlag.Deferred)).toBe(0);
        expect(new Set(await read(edge, 0, 16 * KIB))).toEqual(new Set([0x55]));
      },
      { readOnly: true },
    );
  });

  test("E12: two in a cluster that is counted once: the second overwriting is corruption, and nothing wraps", async () => {
    const places = await makeVictim(at("disk.qcow2"));
    const { file, data } = places;
    storeCompressed(places, data, [0x55, 0x66]);
    expect((await checkFile(file)).corruptions).toBeGreaterThan(0);
    const image = await openImage(file);
    await image.edge.write(0, [Buffer.alloc(64 * KIB, 1)]);
    await image.edge.write(64 * KIB, [Buffer.alloc(64 * KIB, 2)]);
    await image.edge.flush();
    // Giving back what each of them referred to takes away more than there is.
    await failure("BLK_FENCED", () => image.close());
    expect(refcountOf(places, data)).toBeLessThanOrEqual(1);
    expect(readFileSync(file).readBigUInt64BE(72) & 2n).toBe(2n);
    await failure("EACCES", () => openImage(file));
    expect(await checkFile(file, { repair: "all" })).toMatchObject({ corruptions: 0, leaks: 0 });
  });

  test("E13: a range over three host clusters counts in each, and gives each back", async () => {
    const file = at("disk.qcow2");
    const places = await makeVictim(file, { clusterSize: KIB });
    // Four sectors from the middle of a cluster: half of one, a whole one, and half of the next.
    const first = places.data;
    const stored = zlib.deflateRawSync(Buffer.alloc(KIB, 0x55));
    poke(file, first + 512, stored);
    poke64(file, places.l2, fourSectorsAt(first + 512));
    // The guest's next two clusters were stored in what the range now shares with them.
    poke64(file, places.l2 + 8, 0n);
    poke64(file, places.l2 + 16, 0n);
    expect(await checkFile(file)).toMatchObject({ corruptions: 0, leaks: 0, compressedClusters: 1 });
    const counts = (): number[] => [0, 1, 2].map((index) => refcountOf(places, first + index * KIB));
    expect(counts()).toEqual([1, 1, 1]);
    await withImage(file, async ({ edge }) => {
      expect((await read(edge, 0, 1))[0]).toBe(0x55);
      await edge.writeZeroes(0, KIB, { unmap: true });
      await edge.flush();
    });
    expect(counts()).toEqual([0, 0, 0]);
    expect(await checkFile(file)).toMatchObject({ corruptions: 0, leaks: 0 });
  });
});

/** An L2 entry of compressed data in four sectors from `host` on, with clusters of 1 KiB. */
const fourSectorsAt = (host: number): bigint => COMPRESSED | (3n << 60n) | BigInt(host);

/** An image with a data file of which the first three clusters are used, and the damage done to its first L2 table. */
async function withData(damage: (entry: number, file: string) => void): Promise<string> {
  const file = at("disk.qcow2");
  writeFileSync(at("disk.data"), "");
  await createImage(file, DISK_BYTES, { dataFile: { driver: "file", filename: at("disk.data") } });
  const dataFile = { driver: "file", filename: at("disk.data") };
  await withImage(file, async ({ edge }) => edge.write(0, [Buffer.alloc(192 * KIB, 7)]), { dataFile });
  damage(Number(peek64(file, Number(peek64(file, 40))) & OFFSET), file);
  return file;
}

describe("D17: an image with a data file", () => {
  test.each([
    ["a cluster that is not at its own place", 8, COPIED | 0x30000n],
    ["a compressed cluster", 8, COMPRESSED | 0x10000n],
  ])("%s fails the request, and no other", async (_name, at_, entry) => {
    const file = await withData((l2, name) => poke64(name, l2 + at_, entry));
    const dataFile = { driver: "file", filename: at("disk.data"), readOnly: true };
    await withImage(
      file,
      async ({ edge }) => {
        await failure("BLK_CORRUPT", () => edge.read(64 * KIB, [new Uint8Array(512)]));
        expect((await read(edge, 0, 1))[0]).toBe(7);
        expect((await read(edge, 128 * KIB, 1))[0]).toBe(7);
      },
      { dataFile, readOnly: true },
    );
  });

  test("offset 0 is the first cluster when it is marked copied, and none when it is not", async () => {
    const file = await withData((l2, name) => {
      expect(peek64(name, l2)).toBe(COPIED);
      poke64(name, l2, 0n);
    });
    const dataFile = { driver: "file", filename: at("disk.data"), readOnly: true };
    await withImage(file, async ({ edge }) => expect((await read(edge, 0, 1))[0]).toBe(0), {
      dataFile,
      readOnly: true,
    });
  });
});

test("D10: a mapping into a bitmap's directory is not written to", async () => {
  const file = at("disk.qcow2");
  const { l2 } = await makeVictim(file);
  const made = await openImage(file);
  const bitmap = made.node.createDirtyBitmap({ name: "b0", granularity: 64 * KIB });
  made.node.device.bitmaps?.keep(bitmap);
  await made.edge.write(0, [Buffer.alloc(512, 1)]);
  await made.close();
  let directory = 0;
  for (let at = 112; at < 4096; at += 8) {
    if (peek64(file, at) >> 32n === 0x23852875n) directory = Number(peek64(file, at + 24));
  }
  expect(directory).toBeGreaterThan(0);
  poke64(file, l2, COPIED | BigInt(directory));
  const before = readFileSync(file).subarray(directory, directory + 12);
  const image = await openImage(file);
  await failure("BLK_CORRUPT", () => image.edge.write(0, [Buffer.alloc(512, 3)]));
  await image.close().catch(() => {});
  expect(
    readFileSync(file)
      .subarray(directory, directory + 12)
      .equals(before),
  ).toBe(true);
});
