import { readFileSync, truncateSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { BlockError, FaultController } from "../../../src/index.ts";
import { failure } from "../../support/graphs.ts";
import { checkFile, checkSpec } from "../support/check.ts";
import { createImage } from "../support/create.ts";
import { openImage, read, withImage } from "../support/open.ts";
import { peek64, poke, poke16, poke64 } from "../support/poke.ts";
import { scratchFiles } from "../support/scratch.ts";
import { AIM, BYSTANDER, DISK_BYTES, makeVictim, MIB, type Places } from "./victim.ts";

const at = scratchFiles();
const KIB = 1024;
const COPIED = 1n << 63n;

async function contentIsWhole(file: string): Promise<void> {
  await withImage(
    file,
    async ({ edge }) => {
      expect(new Set(await read(edge, AIM.offset, 64 * KIB))).toEqual(new Set([AIM.value]));
      expect(new Set(await read(edge, BYSTANDER.offset, 64 * KIB))).toEqual(new Set([BYSTANDER.value]));
    },
    { readOnly: true },
  );
}

/** Ways in which entries of the refcount table lead nowhere. */
const LOST_BLOCKS: readonly (readonly [name: string, damage: (places: Places) => void])[] = [
  ["F01: unaligned", ({ file, refcountTable }) => poke64(file, refcountTable, 0x22a00n)],
  ["F02: missing", ({ file, refcountTable }) => poke64(file, refcountTable, 0n)],
  ["F03: empty", ({ file, refcountBlock }) => poke(file, refcountBlock, Buffer.alloc(64 * KIB))],
  ["F06: covered by no block", ({ file, refcountTable }) => poke64(file, refcountTable + 8, 1n << 32n)],
  ["F06: covered by an unaligned block", coveredByUnaligned],
  ["F07: at 1 MiB", ({ file, refcountTable }) => poke64(file, refcountTable, 0x10_0000n)],
  ["F07: near 2^63", ({ file, refcountTable }) => poke64(file, refcountTable, 0x7fff_ffff_ffff_0000n)],
  ["F07: near 2^64", ({ file, refcountTable }) => poke64(file, refcountTable, 0xffff_ffff_ffff_0000n)],
  ["F10: used twice", ({ file, refcountTable }) => poke64(file, refcountTable + 8, 0x20000n)],
  ["F10: in the refcount table", ({ file, refcountTable }) => poke64(file, refcountTable + 8, 0x10000n)],
  ["F14: with reserved bits", ({ file, refcountTable }) => poke64(file, refcountTable, 0x201ffn)],
];

function coveredByUnaligned({ file, refcountTable }: Places): void {
  // Block 1 would count what is behind 2 GiB; block 2 lies there.
  poke64(file, refcountTable + 8, 0x22a00n);
  poke64(file, refcountTable + 16, 0x8000_0000n);
}

describe("refcount blocks that are wrong", () => {
  test.each(LOST_BLOCKS)("%s: told, made anew, and nothing of the disk is lost", async (_name, damage) => {
    const places = await makeVictim(at("disk.qcow2"));
    const { file } = places;
    damage(places);
    const before = readFileSync(file);
    const report = await checkFile(file, { memoryLimit: 4 * MIB });
    expect(report.corruptions + report.checkErrors).toBeGreaterThan(0);
    await contentIsWhole(file);
    expect(readFileSync(file).equals(before), "reading and checking change nothing").toBe(true);
    const repaired = await checkFile(file, { repair: "all", memoryLimit: 4 * MIB });
    expect(repaired).toMatchObject({ corruptions: 0, checkErrors: 0, leaks: 0 });
    await contentIsWhole(file);
    await withImage(file, async ({ edge }) => edge.write(2 * MIB, [Buffer.alloc(MIB, 3)]));
    expect(await checkFile(file)).toMatchObject({ corruptions: 0, checkErrors: 0, leaks: 0 });
  });

  test.each(LOST_BLOCKS)("%s: a writer destroys nothing", async (_name, damage) => {
    const places = await makeVictim(at("disk.qcow2"));
    const { file } = places;
    damage(places);
    const image = await openImage(file).catch((error: unknown) => {
      expect(error).toBeInstanceOf(BlockError);
      return undefined;
    });
    if (image !== undefined) {
      const { edge } = image;
      try {
        await edge.write(2 * MIB, [Buffer.alloc(MIB, 3)]);
        await edge.flush();
        await edge.discard(2 * MIB, 512 * KIB);
      } catch (error) {
        expect(error).toBeInstanceOf(BlockError);
      }
      await image.close().catch((error: unknown) => expect(error).toBeInstanceOf(BlockError));
    }
    await contentIsWhole(file);
    expect(await checkFile(file, { repair: "all" })).toMatchObject({ corruptions: 0, checkErrors: 0 });
    await contentIsWhole(file);
  });

  test("F05: making a disk smaller either works or leaves its size, and works after a repair", async () => {
    const { file, refcountTable } = await makeVictim(at("disk.qcow2"));
    poke64(file, refcountTable + 8, 0x00ff_ffff_0000_0000n);
    const image = await openImage(file);
    const ended = await Promise.resolve(image.edge.resize(2 * MIB)).then(
      () => "smaller",
      (error: unknown) => {
        expect(error).toBeInstanceOf(BlockError);
        return "as it was";
      },
    );
    await image.close().catch(() => {});
    expect(Number(peek64(file, 24))).toBe(ended === "smaller" ? 2 * MIB : DISK_BYTES);
    await contentIsWhole(file);
    expect(await checkFile(file, { repair: "all" })).toMatchObject({ corruptions: 0, checkErrors: 0 });
    await withImage(file, async ({ edge }) => edge.resize(1536 * KIB));
    expect(Number(peek64(file, 24))).toBe(1536 * KIB);
    expect(await checkFile(file)).toMatchObject({ corruptions: 0, checkErrors: 0, leaks: 0 });
    await contentIsWhole(file);
  });

  test("B04: with the dirty mark as well: repaired when it is opened to write, before anything is written", async () => {
    const { file, refcountTable } = await makeVictim(at("disk.qcow2"));
    poke64(file, 72, 1n);
    poke64(file, refcountTable, 0xffff_2a00n);
    const before = readFileSync(file);
    await contentIsWhole(file);
    expect(readFileSync(file).equals(before)).toBe(true);
    await withImage(file, async ({ edge }) => edge.write(2 * MIB, [Buffer.alloc(64 * KIB, 3)]));
    expect(peek64(file, 72) & 3n).toBe(0n);
    expect(await checkFile(file)).toMatchObject({ corruptions: 0, checkErrors: 0, leaks: 0 });
    await contentIsWhole(file);
  });
});

describe("counts that do not fit", () => {
  test.each([1, 2, 4, 8])(
    "F08: more references than %i bits can say: told, and never wrapped",
    async (bits) => {
      const places = await makeVictim(at("disk.qcow2"), { clusterSize: 4096, refcountBits: bits });
      const { file, l2, data } = places;
      const most = 2 ** bits - 1;
      // One guest cluster after the other in one place, until there is one too many.
      for (let index = 0; index <= most; index += 1) poke64(file, l2 + 8 * index, BigInt(data));
      const report = await checkFile(file, { repair: "all" });
      expect(report.corruptions).toBeGreaterThan(0);
      const perByte = 8 / bits;
      const cluster = data / 4096;
      const byte = readFileSync(file)[places.refcountBlock + Math.floor(cluster / perByte)] ?? 0;
      expect((byte >> (bits * (cluster % perByte))) & most).toBe(most);
    },
  );

  test("F08: of 16 bits, at their maximum: a cluster is copied and the count lowered", async () => {
    const places = await makeVictim(at("disk.qcow2"));
    const { file, l2, data, refcountBlock } = places;
    poke64(file, l2, BigInt(data));
    poke16(file, refcountBlock + (2 * data) / (64 * KIB), 0xffff);
    await withImage(file, async ({ edge }) => edge.write(0, [Buffer.alloc(512, 9)]));
    expect(readFileSync(file).readUInt16BE(refcountBlock + (2 * data) / (64 * KIB))).toBe(0xfffe);
  });

  test("F11, F12: a file of many TiB, and an entry far behind it, cost a check no memory", async () => {
    const file = at("disk.qcow2");
    const places = await makeVictim(file, { clusterSize: 512 });
    truncateSync(file, 2 ** 43);
    poke64(file, places.l2 + 16, COPIED | (1n << 55n));
    const controller = new FaultController();
    const spec = { driver: "fault", controller, file: { driver: "file", filename: file } };
    expect((await checkSpec(spec, { memoryLimit: MIB })).corruptions).toBeGreaterThan(0);
    // Writing takes the lowest free clusters, not those behind the end of that file.
    await withImage(file, async ({ edge }) => edge.write(2 * MIB, [Buffer.alloc(64 * KIB, 3)]));
    const mapped = Number(peek64(file, places.l1 + 8 * ((2 * MIB) / 32_768)) & 0x00ff_ffff_ffff_fe00n);
    expect(mapped).toBeLessThan(2 * MIB);
  });

  test("F02: none at all, and a table that has to become larger: refused, with nothing changed but the mark", async () => {
    await createImage(at("disk.qcow2"), 64 * KIB, { clusterSize: 512 });
    poke64(at("disk.qcow2"), 512, 0n);
    const { edge, node, close } = await openImage(at("disk.qcow2"));
    const error = await failure("BLK_CORRUPT", () => edge.resize(64 * MIB));
    expect(error.message).toContain("refcount");
    expect(node.size).toBe(64 * KIB);
    await close().catch(() => {});
    expect(await checkFile(at("disk.qcow2"), { repair: "all" })).toMatchObject({
      corruptions: 0,
      checkErrors: 0,
    });
  });

  test("F12: a refcount table that may not become larger: refused, with what was written in order", async () => {
    // With 64 bits a block of 512 bytes counts 64 clusters; a table of a cluster names 64 of them: 2 MiB.
    const file = at("disk.qcow2");
    await createImage(file, 64 * KIB, { clusterSize: 512, refcountBits: 64 });
    const controller = new FaultController({
      rules: [{ operation: "resize", nth: 1, times: 0, error: "EFBIG" }],
    });
    const spec = { driver: "fault", controller, file: { driver: "file", filename: file } };
    const image = await openImage(spec);
    await failure("EFBIG", () => image.edge.write(0, [Buffer.alloc(64 * KIB, 1)]));
    expect(image.node.fence).toBeUndefined();
    await image.close().catch((error: unknown) => expect(error).toBeInstanceOf(BlockError));
    expect(await checkFile(file)).toMatchObject({ corruptions: 0, checkErrors: 0 });
  });

  test("F13: a cluster that nobody counts is not taken for new refcounts, where a file cannot grow", async () => {
    const { file, refcountBlock, data } = await makeVictim(at("disk.qcow2"));
    // Nothing is counted any more; room is only behind the data.
    poke(file, refcountBlock, Buffer.alloc(64 * KIB));
    const end = Math.ceil(readFileSync(file).length / (64 * KIB)) * 64 * KIB;
    truncateSync(file, end + 3 * 64 * KIB);
    const fixed = { driver: "file", filename: file, fixed: true };
    expect(await checkSpec(fixed, { repair: "all" })).toMatchObject({ corruptions: 0, checkErrors: 0 });
    expect(readFileSync(file).length).toBe(end + 3 * 64 * KIB);
    expect(readFileSync(file)[data]).toBe(AIM.value);
    await contentIsWhole(file);
  });

  test("F13: with a table that cannot be read, no cluster is taken for new refcounts, where a file cannot grow", async () => {
    const { file, refcountTable, l2 } = await makeVictim(at("disk.qcow2"));
    poke64(file, refcountTable, 0x22a00n);
    const controller = new FaultController({
      rules: [{ operation: "read", offset: l2, length: 512, times: 0, error: "EIO" }],
    });
    const broken = {
      driver: "fault",
      controller,
      file: { driver: "file", filename: file, fixed: true },
    };
    await failure("ENOSPC", () => checkSpec(broken, { repair: "all" }));
    await contentIsWhole(file);
    // With the table back, or a file that can grow, there is no doubt.
    expect(await checkFile(file, { repair: "all" })).toMatchObject({ corruptions: 0, checkErrors: 0 });
    await contentIsWhole(file);
  });

  test("F13: with a table that cannot be read, nothing becomes free that may be in use", async () => {
    const { file, refcountTable, l2 } = await makeVictim(at("disk.qcow2"), { clusterSize: 4096 });
    poke64(file, refcountTable, 0x22a00n);
    const controller = new FaultController({
      rules: [{ operation: "read", offset: l2, length: 512, times: 0, error: "EIO" }],
    });
    const broken = { driver: "fault", controller, file: { driver: "file", filename: file } };
    await checkSpec(broken, { repair: "all" });
    // By another table than the one that could not be read.
    await withImage(file, async ({ edge }) => {
      for (let at = 3 * MIB; at < 4 * MIB; at += 16 * KIB) await edge.write(at, [Buffer.alloc(4096, 3)]);
    });
    await contentIsWhole(file);
    expect(await checkFile(file, { repair: "all" })).toMatchObject({
      corruptions: 0,
      checkErrors: 0,
      leaks: 0,
    });
    await contentIsWhole(file);
  });
});
