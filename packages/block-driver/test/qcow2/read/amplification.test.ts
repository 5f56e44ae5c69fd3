import { deflateRawSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import {
  BlockGraph,
  createDefaultRegistry,
  qcow2Stats,
  type BlockEdge,
  type BlockNode,
  type Qcow2Stats,
} from "../../../src/index.ts";
import { openImage, read, withImage } from "../support/open.ts";
import { poke, poke64, peek64 } from "../support/poke.ts";
import { scratchFiles } from "../support/scratch.ts";
import { createImage } from "../support/create.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const at = scratchFiles();

function statsOf(node: BlockNode): Qcow2Stats {
  const stats = qcow2Stats(node.device);
  if (stats === undefined) throw new Error("not a qcow2 image");
  return stats;
}

const COUNTERS = [
  "direct",
  "dataReads",
  "dataBytes",
  "backingReads",
  "backingBytes",
  "compressedReads",
  "compressedBytes",
  "compressedClusters",
  "zeroBytes",
] as const satisfies readonly (keyof Qcow2Stats["read"])[];

type Cost = Record<(typeof COUNTERS)[number] | "tableReads", number>;

const NOTHING: Cost = {
  direct: 0,
  dataReads: 0,
  dataBytes: 0,
  backingReads: 0,
  backingBytes: 0,
  compressedReads: 0,
  compressedBytes: 0,
  compressedClusters: 0,
  zeroBytes: 0,
  tableReads: 0,
};

/** What one read asks for below, with the tables in memory already. */
async function costOf(
  { node, edge }: { readonly node: BlockNode; readonly edge: BlockEdge },
  offset: number,
  length: number,
): Promise<Cost> {
  await read(edge, offset, length);
  const before = statsOf(node);
  await read(edge, offset, length);
  const after = statsOf(node);
  const cost = { ...NOTHING, tableReads: after.tableReads - before.tableReads };
  for (const counter of COUNTERS) cost[counter] = after.read[counter] - before.read[counter];
  return cost;
}

describe("what a read costs below", () => {
  test.each([512, 4096, 65536])(
    "contiguous clusters of %d bytes are one read, across all their tables",
    async (clusterSize) => {
      const file = at("disk.qcow2");
      await createImage(file, 4 * MIB, { clusterSize, preallocation: "metadata" });
      await withImage(
        file,
        async (image) => {
          const cost = await costOf(image, 0, 2 * MIB);
          expect(cost).toMatchObject({ dataReads: 1, dataBytes: 2 * MIB, backingReads: 0, zeroBytes: 0 });
        },
        { readOnly: true },
      );
    },
  );

  test("a request that is stored in one piece takes the short way", async () => {
    const file = at("disk.qcow2");
    await createImage(file, 4 * MIB);
    await withImage(file, ({ edge }) => Promise.resolve(edge.write(0, [Buffer.alloc(MIB, 1)])));
    await withImage(
      file,
      async (image) => {
        const cost = await costOf(image, 1000, 500_000);
        expect(cost).toEqual({ ...NOTHING, direct: 1, dataReads: 1, dataBytes: 500_000 });
      },
      { readOnly: true },
    );
  });

  test("zeroes cost nothing, with tables and without", async () => {
    const file = at("disk.qcow2");
    await createImage(file, 4 * MIB, { clusterSize: 4096 });
    await withImage(file, async ({ edge }) => {
      await edge.writeZeroes(0, MIB);
      await edge.write(MIB, [Buffer.alloc(4096, 1)]);
    });
    await withImage(
      file,
      async (image) => {
        expect(await costOf(image, 0, MIB)).toEqual({ ...NOTHING, zeroBytes: MIB });
        expect(await costOf(image, 2 * MIB + 100, MIB)).toEqual({ ...NOTHING, zeroBytes: MIB });
        // The end of one table, zero by its entries, and the next one, which is not there.
        expect(await costOf(image, MIB + 4096, 2 * MIB)).toEqual({ ...NOTHING, zeroBytes: 2 * MIB });
      },
      { readOnly: true },
    );
  });

  test("what the backing file answers is one read of it, clamped to its size", async () => {
    const file = at("disk.qcow2");
    await createImage(file, 4 * MIB, { clusterSize: 4096 });
    await withImage(file, ({ edge }) => Promise.resolve(edge.write(4096, [Buffer.alloc(4096, 1)])));
    const image = await openImage(file, {
      readOnly: true,
      backing: { driver: "memory", size: 3 * MIB + 512 },
    });
    try {
      // The first table has entries, the second one is not there.
      expect(await costOf(image, 8192, 3 * MIB)).toEqual({
        ...NOTHING,
        backingReads: 1,
        backingBytes: 3 * MIB - 8192 + 512,
        zeroBytes: 8192 - 512,
      });
      expect(await costOf(image, 3 * MIB + 512, 100)).toEqual({ ...NOTHING, zeroBytes: 100 });
    } finally {
      await image.close();
    }
  });

  test("neighbouring compressed clusters are read together, and a part of one is decoded once", async () => {
    const file = at("disk.qcow2");
    await createImage(file, 4 * MIB);
    // A table, to be filled by hand.
    await withImage(file, ({ edge }) => Promise.resolve(edge.write(4 * MIB - 512, [Buffer.alloc(512, 1)])));
    const table = Number(peek64(file, Number(peek64(file, 40))) & 0x00ff_ffff_ffff_fe00n);
    let host = 0x10_0000;
    for (let cluster = 0; cluster < 32; cluster += 1) {
      const stored = deflateRawSync(Buffer.alloc(64 * KIB, 1 + cluster));
      poke(file, host, stored);
      const extra = Math.floor((host + stored.length - 1) / 512) - Math.floor(host / 512);
      poke64(file, table + 8 * cluster, (1n << 62n) | (BigInt(extra) << 54n) | BigInt(host));
      host += stored.length;
    }
    await withImage(
      file,
      async (image) => {
        const cost = await costOf(image, 0, 2 * MIB);
        expect(cost).toMatchObject({ compressedReads: 1, compressedClusters: 32, dataReads: 0 });
        expect(cost.compressedBytes).toBeLessThan(32 * 1024);
        expect(await costOf(image, 70_000, 100), "kept").toEqual(NOTHING);
        expect((await read(image.edge, 70_000, 1))[0]).toBe(2);
        expect(new Set(await read(image.edge, 31 * 64 * KIB, 64 * KIB))).toEqual(new Set([32]));
      },
      { readOnly: true },
    );
  });
});

test("with its table in memory a read of a file that answers at once is answered at once", async () => {
  const graph = new BlockGraph({ registry: createDefaultRegistry() });
  try {
    await graph.open({ driver: "memory", nodeName: "file", size: 0 });
    await graph.create("qcow2", { file: "file", size: MIB });
    const node = await graph.open({ driver: "qcow2", file: "file" });
    const edge = graph.attach(node, { name: "guest", uses: ["read", "write"], shares: ["read"] });
    await edge.write(0, [Buffer.alloc(128 * KIB, 7)]);
    const bytes = new Uint8Array(100 * KIB);
    expect(edge.read(1000, [bytes])).toBeUndefined();
    expect(new Set(bytes)).toEqual(new Set([7]));
  } finally {
    await graph.closeAll();
  }
});

test("another driver has no such counters", async () => {
  const graph = new BlockGraph({ registry: createDefaultRegistry() });
  const node = await graph.open({ driver: "memory", size: MIB });
  expect(qcow2Stats(node.device)).toBeUndefined();
  await graph.closeAll();
});
