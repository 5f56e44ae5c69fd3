import { readFileSync } from "node:fs";
import { lacksPeers } from "@blockmirror/peers";
import { describe, expect, test } from "vitest";
import { ExtentList, FaultController, qcow2Stats } from "../../../src/index.ts";
import { Random } from "../../../src/conformance/random.ts";
import { createImage } from "../support/create.ts";
import { openImage, read, withImage } from "../support/open.ts";
import { peek64, poke32, poke64 } from "../support/poke.ts";
import { qemuImg, qemuIo } from "../support/qemu-img.ts";
import { scratchFiles } from "../support/scratch.ts";
import { AIM, makeVictim, MIB } from "./victim.ts";

const at = scratchFiles();
const KIB = 1024;
const COPIED = 1n << 63n;
const SEED = Number(process.env["BLOCKMIRROR_SEED"] ?? 11);

/** The file of an image with every request to it recorded. */
function watched(filename: string): {
  readonly spec: { driver: string };
  readonly controller: FaultController;
} {
  const controller = new FaultController();
  const spec = { driver: "fault", controller, file: { driver: "file", filename } };
  return { spec, controller };
}

function bytesRead({ log }: FaultController): number {
  return log.reduce((sum, { operation, length }) => (operation === "read" ? sum + length : sum), 0);
}

describe("I01: a table near its limit in a small file", () => {
  test.each([
    ["an L1 table of 32 MiB", 36, 4_194_304],
    ["a refcount table of 8 MiB", 56, 128],
    ["65536 snapshots", 60, 65_536],
  ])("%s reads no more than there is", async (_name, field, value) => {
    const { file } = await makeVictim(at("disk.qcow2"));
    poke32(file, field, value);
    if (field === 60) poke64(file, 64, 0x50000n);
    const size = readFileSync(file).length;
    const { spec, controller } = watched(file);
    await withImage(spec, async ({ edge }) => expect((await read(edge, 0, 1))[0]).toBe(AIM.value), {
      readOnly: true,
    });
    // The header cluster and the first sector of it, the rest of the file, a table, a few bytes of data.
    expect(bytesRead(controller)).toBeLessThan(2 * size);
  });
});

test("I02: an L1 table that names one L2 table everywhere is read as it is, with little memory", async () => {
  const file = at("disk.qcow2");
  const size = 256 * 1024 * MIB;
  await createImage(file, size);
  await withImage(file, async ({ edge }) => edge.write(0, [Buffer.alloc(64 * KIB, 7)]));
  const l1 = Number(peek64(file, 40));
  const entries = readFileSync(file).readUInt32BE(36);
  for (let index = 1; index < entries; index += 1) poke64(file, l1 + 8 * index, peek64(file, l1));
  await withImage(
    file,
    async ({ edge, node }) => {
      const extents = new ExtentList();
      let stored = 0;
      for (let offset = 0; offset < size; offset = extents.next) {
        await edge.status(offset, size - offset, extents);
        stored += extents.count;
      }
      expect(stored).toBeGreaterThanOrEqual(2 * entries);
      expect((await read(edge, size - 512 * MIB, 1))[0]).toBe(7);
      // Each name of the table is a table of its own to the cache, which has a bound.
      expect(qcow2Stats(node.device)?.tableReads).toBeGreaterThan(0);
    },
    { readOnly: true, cacheSize: 256 * KIB },
  );
});

test("I04: many guest clusters in one: the disk is as large as it says, and stored once", async () => {
  const places = await makeVictim(at("disk.qcow2"));
  for (let index = 0; index < 64; index += 1) {
    poke64(places.file, places.l2 + 8 * index, COPIED | BigInt(places.data));
  }
  const { spec, controller } = watched(places.file);
  await withImage(
    spec,
    async ({ edge }) => {
      controller.clearLog();
      expect(new Set(await read(edge, 0, 4 * MIB))).toEqual(new Set([AIM.value]));
      // A request is never split below a cluster: what is read is what the guest asked for.
      expect(bytesRead(controller)).toBeLessThanOrEqual(4 * MIB + 64 * KIB);
    },
    { readOnly: true },
  );
});

test.skipIf(lacksPeers("qemu-img"))(
  "I06: bitmaps that would take too much memory are not loaded, others are, and none is lost",
  async () => {
    const file = at("disk.qcow2");
    // Half a GiB of bits, which is the most that one may have, all of them zero; and a small one.
    await qemuImg(["create", "-q", "-f", "qcow2", file, "2T"]);
    await qemuImg(["bitmap", "--add", "-g", "512", file, "large"]);
    await qemuImg(["bitmap", "--add", "-g", "16M", file, "small"]);
    await qemuIo(file, ["write 32M 64k"]);
    await withImage(file, async ({ node, edge }) => {
      expect(Array.from(node.dirtyBitmaps, ({ name }) => name)).toEqual(["small"]);
      expect(node.events).toMatchObject([{ type: "warning", message: expect.stringContaining("'large'") }]);
      await edge.write(0, [Buffer.alloc(512, 1)]);
    });
    await withImage(file, ({ node }) => {
      expect(node.device.bitmaps?.list()).toMatchObject([
        { name: "large", inconsistent: true },
        { name: "small", inconsistent: false },
      ]);
      const [small] = node.dirtyBitmaps;
      expect(small?.bits.count).toBe(32 * MIB);
      return Promise.resolve();
    });
  },
);

test("I08: with clusters of 2 MiB, a cache that is too small reads slices of tables, not tables", async () => {
  const file = at("disk.qcow2");
  const size = 1024 * 1024 * MIB;
  const table = 2 * MIB;
  await createImage(file, size, { clusterSize: table });
  await withImage(file, async ({ edge }) => edge.write(0, [Buffer.alloc(512, 7)]));
  // Two tables of 512 GiB each; the second one is the first one.
  const l1 = Number(peek64(file, 40));
  poke64(file, l1 + 8, peek64(file, l1));
  const { spec, controller } = watched(file);
  await withImage(
    spec,
    async ({ edge }) => {
      controller.clearLog();
      const random = new Random(SEED);
      for (let count = 0; count < 50; count += 1) await read(edge, 4096 * random.below(size / 4096), 4096);
      const reads = controller.log.filter(({ operation }) => operation === "read");
      expect(reads.length).toBeGreaterThan(20);
      expect(Math.max(...reads.map(({ length }) => length))).toBeLessThanOrEqual(64 * KIB);
      expect(bytesRead(controller)).toBeLessThan(2 * table);
    },
    { readOnly: true, cacheSize: 128 * KIB },
  );
});

test("I09: requests of no bytes ask for nothing, and many of one byte for little more than that", async () => {
  const { file } = await makeVictim(at("disk.qcow2"));
  const { spec, controller } = watched(file);
  await withImage(spec, async ({ edge }) => {
    await edge.write(0, [Buffer.alloc(64 * KIB, 1)]);
    await edge.flush();
    controller.clearLog();
    for (let count = 0; count < 1000; count += 1) {
      await edge.read(count, []);
      await edge.write(count, []);
      await edge.writeZeroes(count, 0);
      await edge.discard(count, 0);
    }
    expect(controller.log).toEqual([]);
    for (let count = 0; count < 1000; count += 1) await edge.write(count, [Buffer.alloc(1, count % 251)]);
    expect(controller.log.filter(({ operation }) => operation === "write")).toHaveLength(1000);
    expect(controller.log.reduce((sum, { length }) => sum + length, 0)).toBe(1000);
  });
});

test("I10: a broken image that is asked again and again reports itself once, and once more when it is fenced", async () => {
  const { file, aimEntry } = await makeVictim(at("disk.qcow2"));
  poke64(file, aimEntry, COPIED | 0x52a00n);
  await withImage(
    file,
    async ({ edge, node }) => {
      for (let count = 0; count < 20; count += 1) {
        await expect(async () => edge.read(AIM.offset, [new Uint8Array(512)])).rejects.toMatchObject({
          code: "BLK_CORRUPT",
        });
      }
      expect(node.events.filter(({ type }) => type === "corruption")).toHaveLength(1);
    },
    { readOnly: true },
  );
  const image = await openImage(file);
  for (let count = 0; count < 20; count += 1) {
    await expect(async () => image.edge.write(AIM.offset, [new Uint8Array(512)])).rejects.toMatchObject({
      code: count === 0 ? "BLK_CORRUPT" : "BLK_FENCED",
    });
  }
  expect(image.node.events.filter(({ type }) => type === "corruption")).toHaveLength(1);
  await image.close().catch(() => {});
});
