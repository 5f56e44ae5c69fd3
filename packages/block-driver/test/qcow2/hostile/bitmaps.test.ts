import { readFileSync } from "node:fs";
import { beforeEach, describe, expect, test } from "vitest";
import { keepDirtyBitmap } from "../../../src/index.ts";
import { failure } from "../../support/graphs.ts";
import { checkFile } from "../support/check.ts";
import { openImage, read, withImage } from "../support/open.ts";
import { peek64, poke, poke32, poke64 } from "../support/poke.ts";
import { scratchFiles } from "../support/scratch.ts";
import { AIM, BYSTANDER, DISK_BYTES, makeVictim } from "./victim.ts";

const at = scratchFiles();
const KIB = 1024;

/** Where the bitmap of the image below is. */
let directory = 0;
let table = 0;
let bits = 0;
let file = "";

beforeEach(async () => {
  file = at("disk.qcow2");
  await makeVictim(file);
  const { node, edge, close } = await openImage(file);
  keepDirtyBitmap(node, node.createDirtyBitmap({ name: "b0", granularity: 64 * KIB }));
  await edge.write(AIM.offset, [Buffer.alloc(64 * KIB, AIM.value)]);
  await close();
  for (let at = 112; at < 4096; at += 8) {
    if (peek64(file, at) >> 32n === 0x23852875n) directory = Number(peek64(file, at + 24));
  }
  table = Number(peek64(file, directory));
  bits = Number(peek64(file, table));
  expect([directory, table, bits].every((offset) => offset > 0)).toBe(true);
});

async function diskIsReadable(): Promise<void> {
  await withImage(
    file,
    async ({ edge }) => {
      expect((await read(edge, BYSTANDER.offset, 1))[0]).toBe(BYSTANDER.value);
    },
    { readOnly: true },
  );
}

/** The dirty ranges of the one bitmap, as an open image has it. */
async function dirtyRanges(): Promise<number> {
  return withImage(file, async ({ node }) => {
    const [bitmap] = node.dirtyBitmaps;
    return Promise.resolve(bitmap?.bits.count ?? -1);
  });
}

describe("a bitmap whose table makes no sense", () => {
  test.each([
    ["G10: a place and a value", () => poke64(file, table, BigInt(bits) | 1n)],
    ["G10: reserved bits", () => poke64(file, table, BigInt(bits) | 2n)],
    ["G10: an unaligned place", () => poke64(file, table, BigInt(bits) + 512n)],
    ["G10: a table of another length", () => poke32(file, directory + 8, 2)],
  ])("%s: that bitmap is not used, and stale after a write; the disk is", async (_name, damage) => {
    damage();
    const before = readFileSync(file);
    await diskIsReadable();
    const { node, edge, close } = await openImage(file);
    expect(node.dirtyBitmaps.size).toBe(0);
    expect(node.events.map(({ type }) => type)).toEqual(["warning"]);
    expect(node.device.bitmaps?.list()).toMatchObject([{ name: "b0" }]);
    expect(readFileSync(file).equals(before)).toBe(true);
    await edge.write(0, [Buffer.alloc(512, 3)]);
    await close();
    await withImage(
      file,
      ({ node: again }) => {
        expect(again.device.bitmaps?.list()).toMatchObject([{ name: "b0", inconsistent: true }]);
        return Promise.resolve();
      },
      { readOnly: true },
    );
    await diskIsReadable();
  });

  test("G13: bits where data is: told by a check, and neither is given up", async () => {
    const data = Number(peek64(file, Number(peek64(file, 0x30000) & 0x00ff_ffff_ffff_fe00n)) & ~(1n << 63n));
    poke64(file, table, BigInt(data));
    expect((await checkFile(file)).corruptions).toBeGreaterThan(0);
    await diskIsReadable();
    const image = await openImage(file);
    // Whoever writes must not free, or write over, what is both; the first change finds it out.
    await image.edge.write(2 * 1024 * KIB, [Buffer.alloc(512, 3)]);
    await failure("BLK_CORRUPT", () => image.edge.write(AIM.offset, [Buffer.alloc(512, 3)]));
    await image.close().catch(() => {});
    expect(readFileSync(file)[data]).toBe(AIM.value);
    await diskIsReadable();
  });
});

test("G14: bits behind the last one are left out", async () => {
  const bytes = DISK_BYTES / (64 * KIB) / 8;
  poke(file, bits + bytes, Buffer.alloc(32, 0xff));
  expect(await dirtyRanges()).toBe(64 * KIB);
});

test("G12: a bitmap in use is listed as such, and not used", async () => {
  poke32(file, directory + 12, 3);
  await withImage(file, ({ node }) => {
    expect(node.dirtyBitmaps.size).toBe(0);
    expect(node.device.bitmaps?.list()).toMatchObject([{ name: "b0", inconsistent: true }]);
    return Promise.resolve();
  });
});

test("B13: the bit without the extension is an image without bitmaps", async () => {
  for (let at = 112; at < 4096; at += 8) {
    // Now of a type that nobody knows.
    if (peek64(file, at) >> 32n === 0x23852875n) poke32(file, at, 0x1234_5678);
  }
  expect(peek64(file, 88)).toBe(1n);
  await withImage(file, async ({ node, edge }) => {
    expect(node.device.bitmaps?.list()).toEqual([]);
    await edge.write(0, [Buffer.alloc(512, 3)]);
  });
  expect(peek64(file, 88)).toBe(0n);
});

test("B14: the extension without the bit is not believed, and what it named is lost space", async () => {
  poke64(file, 88, 0n);
  await withImage(file, async ({ node, edge }) => {
    expect(node.device.bitmaps?.list()).toEqual([]);
    await edge.write(0, [Buffer.alloc(512, 3)]);
  });
  const report = await checkFile(file, { repair: "leaks" });
  expect(report).toMatchObject({ corruptions: 0, leaks: 0 });
  expect(report.leaksFixed).toBeGreaterThanOrEqual(3);
  await diskIsReadable();
});
