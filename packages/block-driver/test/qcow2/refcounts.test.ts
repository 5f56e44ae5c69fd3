import * as fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import type { BlockEdge } from "../../src/index.ts";
import { Geometry } from "../../src/drivers/qcow2/format/geometry.ts";
import { refcountCodec } from "../../src/drivers/qcow2/format/refcount-codec.ts";
import { viewOf, writeU64 } from "../../src/drivers/qcow2/format/u64.ts";
import type { Image } from "../../src/drivers/qcow2/image.ts";
import { ClusterAllocator } from "../../src/drivers/qcow2/metadata/cluster-allocator.ts";
import { HostFile } from "../../src/drivers/qcow2/metadata/host-file.ts";
import { ImageFence } from "../../src/drivers/qcow2/metadata/image-fence.ts";
import { MetadataMap, MetadataKind } from "../../src/drivers/qcow2/metadata/metadata-map.ts";
import { ReadEpochs } from "../../src/drivers/qcow2/metadata/read-epochs.ts";
import { Refcounts } from "../../src/drivers/qcow2/metadata/refcounts.ts";
import { ReleasedClusters } from "../../src/drivers/qcow2/metadata/released-clusters.ts";
import { failure, makeGraph, parent } from "../support/graphs.ts";
import "../support/seed.ts";

const CLUSTER_BITS = 9;
const CLUSTER = 2 ** CLUSTER_BITS;

/** Nobody drains what is tested here. */
const beginWork = (): (() => void) => () => {};

/** The parts around refcounts, over a memory disk with header, refcount table and one block. */
interface Bench {
  readonly file: BlockEdge;
  readonly map: MetadataMap;
  readonly refcounts: Refcounts;
  readonly allocator: ClusterAllocator;
  readonly released: ReleasedClusters;
  readonly epochs: ReadEpochs;
  readonly reports: string[];
  readonly fence: ImageFence;
  /** Where table and header say the refcounts are. */
  location: { offset: number; clusters: number };
}

async function emptyImage(order: number): Promise<BlockEdge> {
  const graph = makeGraph();
  const node = await graph.open({ driver: "memory", nodeName: "file", size: 3 * CLUSTER });
  const file = graph.attach(node, parent("user"));
  const table = new Uint8Array(CLUSTER);
  writeU64(viewOf(table), 0, 2 * CLUSTER);
  await file.write(CLUSTER, [table]);
  const block = new Uint8Array(CLUSTER);
  for (let cluster = 0; cluster < 3; cluster += 1) refcountCodec(order).set(block, cluster, 1);
  await file.write(2 * CLUSTER, [block]);
  return file;
}

async function openBench(
  file: BlockEdge,
  order: number,
  location = { offset: CLUSTER, clusters: 1 },
): Promise<Bench> {
  const geometry = new Geometry({ clusterBits: CLUSTER_BITS, refcountOrder: order, extendedL2: false });
  const reports: string[] = [];
  const image = {
    label: "image",
    header: { version: 2 },
    report: (event: { message: string }) => reports.push(event.message),
  };
  const host = new HostFile(file, "image", { beginWork });
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a fence needs no more of an image than this
  const fence = new ImageFence(image as unknown as Image, host);
  const map = new MetadataMap();
  map.add(MetadataKind.Header, 0);
  const common = { geometry, map, fence, label: "image" };
  const refcounts = new Refcounts({
    ...common,
    file,
    tableOffset: location.offset,
    tableClusters: location.clusters,
    onMoved: () => {},
  });
  await refcounts.load();
  const epochs = new ReadEpochs();
  const released: ReleasedClusters = new ReleasedClusters({
    ...common,
    refcounts,
    file: host,
    epochs,
    beginWork,
    onFree: (cluster) => allocator.noteFree(cluster),
    onLeak: (cause) => reports.push(String(cause)),
  });
  const allocator = new ClusterAllocator({ ...common, refcounts, released, fileSize: file.info.size });
  return { file, map, refcounts, allocator, released, epochs, reports, fence, location };
}

/** Writes what a commit would write, and gives back what was released. */
async function persist(bench: Bench): Promise<void> {
  const host = new HostFile(bench.file, "image", { beginWork });
  const blocks = bench.refcounts.takeBlocks();
  const pointers = bench.refcounts.takePointers();
  for (const write of [...blocks, ...pointers]) {
    await host.write(write.offset, [write.bytes]);
    write.done();
  }
  bench.location = { offset: bench.refcounts.tableOffset, clusters: bench.refcounts.tableClusters };
  bench.released.giveBack(bench.released.take());
  await bench.released.idle();
}

let bench: Bench;

describe("allocating", () => {
  beforeEach(async () => {
    bench = await openBench(await emptyImage(4), 4);
  });

  test("takes the lowest free clusters and says that they were never used", async () => {
    expect(await bench.allocator.allocate(1)).toEqual({ cluster: 3, count: 1, fresh: true });
    expect(await bench.allocator.allocate(8)).toEqual({ cluster: 4, count: 8, fresh: true });
    expect(await bench.refcounts.get(11)).toBe(1);
    expect(await bench.refcounts.get(12)).toBe(0);
  });

  test("hands a cluster out again, as used, after it was given back", async () => {
    const run = await bench.allocator.allocate(4);
    await bench.allocator.giveBack(run.cluster + 1, 1);
    expect(await bench.allocator.allocate(1)).toEqual({ cluster: run.cluster + 1, count: 1, fresh: false });
  });

  test("skips holes that are too small for a run and uses them for single clusters", async () => {
    const run = await bench.allocator.allocate(8);
    await bench.allocator.giveBack(run.cluster + 2, 2);
    expect((await bench.allocator.allocate(3)).cluster).toBe(run.cluster + 8);
    expect((await bench.allocator.allocate(1)).cluster).toBe(run.cluster + 2);
  });

  test("extends a run only into what is free right behind it", async () => {
    const run = await bench.allocator.allocate(2);
    expect(bench.allocator.extend(run.cluster + 2, 3)).toEqual({
      cluster: run.cluster + 2,
      count: 3,
      fresh: true,
    });
    expect(bench.allocator.extend(run.cluster + 2, 1)).toBeUndefined();
  });

  test("makes a block that counts itself where none is", async () => {
    const { blockEntries } = bench.refcounts;
    while ((await bench.refcounts.get(blockEntries)) === 0) await bench.allocator.allocate(16);
    expect(bench.map.kindsIn(blockEntries, 1)).toBe(MetadataKind.RefcountBlock);
    await persist(bench);
    const again = await openBench(bench.file, 4, bench.location);
    expect(await again.refcounts.get(blockEntries)).toBe(1);
    expect(again.map.kindsIn(blockEntries, 1)).toBe(MetadataKind.RefcountBlock);
  });

  test("J03: moves a full refcount table to a larger place and frees the old one", async () => {
    const { blockEntries, capacity } = bench.refcounts;
    for (let taken = 0; taken <= capacity * blockEntries; taken += 128) await bench.allocator.allocate(128);
    expect(bench.refcounts.tableClusters).toBeGreaterThan(1);
    expect(bench.map.kindsIn(1, 1)).toBe(0);
    await persist(bench);
    expect(await bench.refcounts.get(1)).toBe(0);
    const again = await openBench(bench.file, 4, bench.location);
    expect(again.refcounts.capacity).toBeGreaterThan(capacity);
    expect(await again.refcounts.get(Math.floor(bench.location.offset / CLUSTER))).toBe(1);
  });

  test("places a large table behind everything, with the blocks it needs before it", async () => {
    const { blockEntries } = bench.refcounts;
    const start = await bench.allocator.allocateAtEnd(5 * blockEntries);
    for (let cluster = start; cluster < start + 5 * blockEntries; cluster += blockEntries) {
      expect(await bench.refcounts.get(cluster)).toBe(1);
    }
    expect(await bench.allocator.usedEnd()).toBe((start + 5 * blockEntries) * CLUSTER);
  });

  test("refuses to use the header or other metadata that the refcounts call free", async () => {
    bench.map.add(MetadataKind.L2Table, 3);
    const error = await failure("BLK_CORRUPT", () => bench.allocator.allocate(1));
    expect(error.message).toContain("an L2 table");
    expect(bench.fence.failure?.code).toBe("BLK_FENCED");
    expect(bench.reports).toHaveLength(1);
  });

  test("refuses an image whose first refcount block is missing", async () => {
    const file = await emptyImage(4);
    await file.writeZeroes(CLUSTER, CLUSTER);
    const broken = await openBench(file, 4);
    await failure("BLK_CORRUPT", () => broken.allocator.allocate(1));
  });

  test.each([0x22a00, 512 * 100, 2 ** 63, CLUSTER])("refuses a refcount block at %d", async (offset) => {
    const file = await emptyImage(4);
    const entry = new Uint8Array(8);
    viewOf(entry).setBigUint64(0, BigInt(offset));
    await file.write(CLUSTER, [entry]);
    const broken = await openBench(file, 4);
    await failure("BLK_CORRUPT", () => broken.allocator.allocate(1));
  });
});

describe("giving back", () => {
  beforeEach(async () => {
    bench = await openBench(await emptyImage(4), 4);
  });

  test("J04: keeps a released cluster out of use until the commit after which nothing reads it any more", async () => {
    const run = await bench.allocator.allocate(1);
    bench.released.add(run.cluster, 1, true);
    expect((await bench.allocator.allocate(1)).cluster).not.toBe(run.cluster);
    const epoch = bench.epochs.begin();
    bench.released.giveBack(bench.released.take());
    expect((await bench.allocator.allocate(1)).cluster).not.toBe(run.cluster);
    bench.epochs.end(epoch);
    await bench.released.idle();
    expect((await bench.allocator.allocate(1)).cluster).toBe(run.cluster);
  });

  test("never lowers a refcount below zero", async () => {
    bench.released.add(50, 1, false);
    bench.released.giveBack(bench.released.take());
    await bench.released.idle();
    expect(bench.fence.failure).toBeDefined();
    expect(await bench.refcounts.get(50)).toBe(0);
  });

  test("refuses to free what is metadata", async () => {
    await failure("BLK_CORRUPT", () => bench.released.add(2, 1, false));
  });

  test("a failed commit keeps them for the next", async () => {
    const run = await bench.allocator.allocate(2);
    bench.released.add(run.cluster, 1, false);
    bench.released.restore(bench.released.take());
    bench.released.add(run.cluster + 1, 1, false);
    bench.released.giveBack(bench.released.take());
    await bench.released.idle();
    expect(await bench.refcounts.get(run.cluster)).toBe(0);
    expect(await bench.refcounts.get(run.cluster + 1)).toBe(0);
  });
});

describe.each([0, 1, 2, 3, 4, 5, 6])("refcounts of 2^%d bits", (order) => {
  test("equal a model through random allocations, frees and reopenings", async () => {
    const step = fc.oneof(
      fc.record({ take: fc.integer({ min: 1, max: 40 }) }),
      fc.record({ free: fc.nat() }),
      fc.constant("reopen" as const),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), async (steps) => {
        let subject = await openBench(await emptyImage(order), order);
        const held: number[] = [];
        for (const action of steps) {
          if (action === "reopen") {
            await persist(subject);
            // What the last commit gave back is written by the next.
            await persist(subject);
            subject = await openBench(subject.file, order, subject.location);
          } else if ("take" in action) {
            const run = await subject.allocator.allocate(action.take);
            for (let at = run.cluster; at < run.cluster + run.count; at += 1) {
              expect(held).not.toContain(at);
              held.push(at);
            }
          } else if (held.length > 0) {
            const [cluster = 0] = held.splice(action.free % held.length, 1);
            subject.released.add(cluster, 1, false);
          }
        }
        await persist(subject);
        for (const cluster of held) expect(await subject.refcounts.get(cluster)).toBe(1);
        const counted: number[] = [];
        for (let at = 0; at * CLUSTER < (await subject.allocator.usedEnd()); at += 1) {
          if ((await subject.refcounts.get(at)) === 1 && subject.map.kindsIn(at, 1) === 0) counted.push(at);
        }
        expect(counted).toEqual(held.sort((a, b) => a - b));
      }),
      { numRuns: 12 },
    );
  });
});

describe("MetadataMap", () => {
  test("answers millions of questions about millions of clusters, which only a search by halves can", () => {
    const map = new MetadataMap();
    const count = 2_000_000;
    // Every third cluster is an L2 table; some have changed since.
    map.addAll(
      MetadataKind.L2Table,
      Array.from({ length: count }, (_unused, index) => 3 * index),
    );
    for (let index = 0; index < 200; index += 1) map.remove(MetadataKind.L2Table, 3 * index * 7919);
    for (let index = 0; index < 200; index += 1) map.add(MetadataKind.Bitmaps, 3 * index * 7919 + 1);
    let found = 0;
    for (let index = 0; index < count; index += 1) found += map.kindsIn(3 * index, 2) === 0 ? 0 : 1;
    expect(found).toBe(count);
    expect(map.kindsIn(0, 1)).toBe(0);
    expect(map.kindsIn(1, 1)).toBe(MetadataKind.Bitmaps);
    expect(map.kindsIn(3 * count, 2 ** 40)).toBe(0);
  });

  test("equals a model", () => {
    const change = fc.record({
      add: fc.boolean(),
      kind: fc.constantFrom(...Object.values(MetadataKind)),
      cluster: fc.nat(2000),
      count: fc.integer({ min: 1, max: 30 }),
    });
    fc.assert(
      fc.property(
        fc.array(fc.nat(2000), { maxLength: 300 }),
        fc.array(change, { maxLength: 200 }),
        (first, changes) => {
          const map = new MetadataMap();
          const model = new Map<number, number>();
          map.addAll(MetadataKind.L2Table, first);
          for (const cluster of first) model.set(cluster, MetadataKind.L2Table);
          for (const { add, kind, cluster, count } of changes) {
            if (add) map.add(kind, cluster, count);
            else map.remove(kind, cluster, count);
            for (let at = cluster; at < cluster + count; at += 1) {
              model.set(at, add ? (model.get(at) ?? 0) | kind : (model.get(at) ?? 0) & ~kind);
            }
            let expected = 0;
            for (let at = cluster - 3; at < cluster + count; at += 1) expected |= model.get(at) ?? 0;
            expect(map.kindsIn(cluster - 3, count + 3)).toBe(expected);
          }
          for (let at = 0; at < 2040; at += 1) expect(map.kindsIn(at, 1)).toBe(model.get(at) ?? 0);
        },
      ),
      { numRuns: 20 },
    );
  });
});
