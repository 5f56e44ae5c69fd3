import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { BlockError, type BlockEdge } from "../../../src/index.ts";
import { failure } from "../../support/graphs.ts";
import { createImage } from "../support/create.ts";
import { openImage } from "../support/open.ts";
import { peek64, poke, poke16, poke64 } from "../support/poke.ts";
import { scratchFiles } from "../support/scratch.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const CLUSTER = 64 * KIB;
const CORRUPT = 2n;
const at = scratchFiles();

/** Where the tables of the image below are: it has one L2 table and one data cluster. */
interface Places {
  readonly header: number;
  readonly refcountTable: number;
  readonly refcountBlock: number;
  readonly l1: number;
  readonly l2: number;
  readonly data: number;
}

async function makeImage(options: Readonly<Record<string, unknown>> = {}): Promise<Places> {
  const file = at("disk.qcow2");
  await createImage(file, 64 * MIB, options);
  const image = await openImage(file);
  await image.edge.write(0, [Buffer.alloc(CLUSTER, 1)]);
  await image.close();
  const offset = (where: number): number => Number(peek64(file, where) & 0x00ff_ffff_ffff_fe00n);
  const refcountTable = Number(peek64(file, 48));
  const l1 = Number(peek64(file, 40));
  const l2 = offset(l1);
  return { header: 0, refcountTable, refcountBlock: offset(refcountTable), l1, l2, data: offset(l2) };
}

/** Opens the damaged image, expects `change` to fail as corruption, and nothing but the mark in the header to change. */
async function mustRefuse(change: (edge: BlockEdge) => unknown): Promise<void> {
  const file = at("disk.qcow2");
  const before = readFileSync(file);
  const image = await openImage(file);
  await failure("BLK_CORRUPT", () => change(image.edge));
  await failure("BLK_FENCED", () => image.edge.write(0, [Buffer.alloc(512)]));
  await failure("BLK_FENCED", () => image.edge.flush());
  expect(image.node.events.filter(({ type }) => type === "corruption")).toHaveLength(1);
  await image.close().catch((error: unknown) => expect(error).toBeInstanceOf(BlockError));
  const after = readFileSync(file).subarray(0, before.length);
  expect(after.readBigUInt64BE(72) & CORRUPT).toBe(CORRUPT);
  before.copy(after, 72, 72, 80);
  expect(Buffer.compare(after, before), "the file is as it was").toBe(0);
  await failure("EACCES", () => openImage(file));
}

const write = (edge: BlockEdge): unknown => edge.write(100, [Buffer.alloc(512, 9)]);
const writeElsewhere = (edge: BlockEdge): unknown => edge.write(10 * MIB, [Buffer.alloc(512, 9)]);
const COPIED = 1n << 63n;

describe("a mapping that leads to metadata", () => {
  test.each(["header", "refcountTable", "refcountBlock", "l1", "l2"] as const)(
    "D09, D10, J06: is not written to: %s",
    async (target) => {
      const places = await makeImage();
      const offset = places[target] === 0 ? 0x200 : places[target];
      poke64(at("disk.qcow2"), places.l2, COPIED | BigInt(offset));
      await mustRefuse(write);
    },
  );

  test.each(["header", "refcountTable", "refcountBlock", "l1", "l2"] as const)(
    "D09, D10, J06: is not written to by a request that goes straight down, either: %s",
    async (target) => {
      const places = await makeImage();
      const offset = places[target] === 0 ? 0x200 : places[target];
      poke64(at("disk.qcow2"), places.l2, COPIED | BigInt(offset));
      const image = await openImage(at("disk.qcow2"));
      // With its tables in memory, a write in place takes no more than a look at the map.
      await image.edge.write(128 * KIB, [Buffer.alloc(CLUSTER, 2)]);
      await image.edge.flush();
      const before = readFileSync(at("disk.qcow2"));
      await failure("BLK_CORRUPT", () => image.edge.write(0, [Buffer.alloc(512, 9)]));
      await image.close().catch(() => {});
      const after = readFileSync(at("disk.qcow2"));
      expect(after.readBigUInt64BE(72) & CORRUPT).toBe(CORRUPT);
      before.copy(after, 72, 72, 80);
      const common = Math.min(before.length, after.length);
      expect(Buffer.compare(after.subarray(0, common), before.subarray(0, common))).toBe(0);
    },
  );

  test.each(["refcountBlock", "l1"] as const)(
    "D09, D10: nor are its clusters given up: %s",
    async (target) => {
      const places = await makeImage();
      poke64(at("disk.qcow2"), places.l2, COPIED | BigInt(places[target]));
      await mustRefuse((edge) => edge.discard(0, CLUSTER));
    },
  );

  test("E12: a compressed cluster that lies in metadata is not given up", async () => {
    const places = await makeImage();
    poke64(at("disk.qcow2"), places.l2, (1n << 62n) | BigInt(places.refcountBlock));
    await mustRefuse((edge) => edge.write(0, [Buffer.alloc(CLUSTER, 9)]));
  });

  test("D02: an L2 table on top of the L1 table is not written", async () => {
    const places = await makeImage();
    poke64(at("disk.qcow2"), places.l1, COPIED | BigInt(places.l1));
    const image = await openImage(at("disk.qcow2"));
    await expect(async () => {
      await image.edge.write(10 * MIB, [Buffer.alloc(512, 9)]);
      await image.edge.flush();
    }).rejects.toMatchObject({ code: "BLK_CORRUPT" });
    await image.close().catch(() => {});
    expect(peek64(at("disk.qcow2"), places.l1)).toBe(COPIED | BigInt(places.l1));
  });
});

describe("a mapping that makes no sense", () => {
  test.each([
    ["D06: an unaligned data cluster", (places: Places) => COPIED | BigInt(places.data + 512)],
    ["D07: unaligned space under zeroes", (places: Places) => COPIED | BigInt(places.data + 512) | 1n],
    ["D08: space under zeroes in the header", () => COPIED | 0x2a00n | 1n],
    ["D11: a data cluster far beyond the end of the file", () => COPIED | 0x0000_00ff_ffff_0000n],
    ["D11: a data cluster beyond every file", () => COPIED | 0x00ff_ffff_ffff_0000n],
  ])("is refused: %s", async (_name, entry) => {
    const places = await makeImage();
    poke64(at("disk.qcow2"), places.l2, entry(places));
    await mustRefuse(write);
  });

  test("D06: unaligned clusters are not given up", async () => {
    const places = await makeImage();
    poke64(at("disk.qcow2"), places.l2, COPIED | BigInt(places.data + 512));
    await mustRefuse((edge) => edge.discard(0, CLUSTER));
  });

  test.each([0x2a00n, 0x00ff_ffff_ffff_0000n])("D01, D03: an L2 table at 0x%x is refused", async (offset) => {
    const places = await makeImage();
    poke64(at("disk.qcow2"), places.l1, offset);
    await mustRefuse(write);
  });
});

describe("refcounts that make no sense", () => {
  test.each([
    [
      "F01: the table leads to an unaligned block",
      (places: Places) => poke64(at("disk.qcow2"), places.refcountTable, 0x22a00n),
    ],
    [
      "F02: the first block is missing",
      (places: Places) => poke64(at("disk.qcow2"), places.refcountTable, 0n),
    ],
    [
      "F07: the block lies beyond the end",
      (places: Places) => poke64(at("disk.qcow2"), places.refcountTable, 0x7fff_ffff_0000n),
    ],
    [
      "F06: the block is the L1 table",
      (places: Places) => poke64(at("disk.qcow2"), places.refcountTable, BigInt(places.l1)),
    ],
    [
      "F03: everything is free",
      (places: Places) => poke(at("disk.qcow2"), places.refcountBlock, Buffer.alloc(64)),
    ],
    [
      "F04: the L2 table is free",
      (places: Places) => poke16(at("disk.qcow2"), places.refcountBlock + (2 * places.l2) / CLUSTER, 0),
    ],
  ])("no cluster is taken when %s", async (_name, damage) => {
    damage(await makeImage());
    await mustRefuse(writeElsewhere);
  });

  test("F09: a refcount never becomes less than zero", async () => {
    const places = await makeImage();
    poke16(at("disk.qcow2"), places.refcountBlock + (2 * places.data) / CLUSTER, 0);
    const image = await openImage(at("disk.qcow2"));
    await image.edge.discard(0, CLUSTER);
    await image.edge.flush();
    await failure("BLK_FENCED", () => image.close());
    expect(
      readFileSync(at("disk.qcow2")).readUInt16BE(places.refcountBlock + (2 * places.data) / CLUSTER),
    ).toBe(0);
  });

  test("a data cluster that a snapshot shares is not written in place", async () => {
    const places = await makeImage();
    const file = at("disk.qcow2");
    // What a snapshot leaves behind: two references, and no COPIED flag.
    poke16(file, places.refcountBlock + (2 * places.data) / CLUSTER, 2);
    poke64(file, places.l2, BigInt(places.data));
    const image = await openImage(file);
    await image.edge.write(0, [Buffer.alloc(512, 9)]);
    await image.close();
    const content = readFileSync(file);
    expect(content.subarray(places.data, places.data + CLUSTER).every((byte) => byte === 1)).toBe(true);
    expect(content.readUInt16BE(places.refcountBlock + (2 * places.data) / CLUSTER)).toBe(1);
  });
});

test("B05: an image that is marked corrupt is not opened for writing, and not changed", async () => {
  await makeImage();
  const file = at("disk.qcow2");
  poke64(file, 72, CORRUPT);
  const before = readFileSync(file);
  await failure("EACCES", () => openImage(file));
  expect(Buffer.compare(readFileSync(file), before)).toBe(0);
});

test("a file that cannot grow says so, and keeps what it has", async () => {
  const file = at("disk.qcow2");
  await createImage(file, 64 * MIB);
  writeFileSync(at("keep"), readFileSync(file));
  const image = await openImage({
    driver: "fault",
    rules: [{ operation: "resize", error: "ENOSPC", times: 0 }],
    file: { driver: "file", filename: file },
  });
  await failure("ENOSPC", () => image.edge.write(0, [Buffer.alloc(512, 1)]));
  expect(image.node.fence).toBeUndefined();
  // The new L2 table has no place in the file either; nothing on disk points to it.
  await failure("ENOSPC", () => image.edge.flush());
  await failure("ENOSPC", () => image.close());
  const again = await openImage(file);
  await again.edge.write(0, [Buffer.alloc(512, 1)]);
  await again.close();
});
