import { writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
  ExtentList,
  FaultController,
  qcow2Stats,
  type BlockNode,
  type FaultOperation,
  type Qcow2Stats,
} from "../../../src/index.ts";
import { createImage } from "../support/create.ts";
import { openImage, read, type OpenImage } from "../support/open.ts";
import { poke16, poke64, peek64 } from "../support/poke.ts";
import { scratchFiles } from "../support/scratch.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const at = scratchFiles();

interface Watched extends OpenImage {
  readonly controller: FaultController;
}

/** Opens the image whose requests to its file are recorded. */
async function open(options: Readonly<Record<string, unknown>> = {}): Promise<Watched> {
  const controller = new FaultController();
  const file = { driver: "fault", controller, file: { driver: "file", filename: at("disk.qcow2") } };
  return { ...(await openImage(file, options)), controller };
}

function statsOf(node: BlockNode): Qcow2Stats {
  const stats = qcow2Stats(node.device);
  if (stats === undefined) throw new Error("not a qcow2 image");
  return stats;
}

function lengths({ log }: FaultController, operation: FaultOperation): number[] {
  return log.filter((entry) => entry.operation === operation).map(({ length }) => length);
}

describe("what writing costs below, by the image's own counters", () => {
  test("the counters are what reaches the file", async () => {
    await createImage(at("disk.qcow2"), 64 * MIB);
    const { node, edge, close, controller } = await open();
    await edge.write(0, [Buffer.alloc(64 * KIB, 1)]);
    await edge.flush();
    const before = statsOf(node);
    controller.clearLog();
    await edge.write(MIB, [Buffer.alloc(3 * MIB, 2)]);
    await edge.write(32 * MIB + 100, [Buffer.alloc(5000, 3)]);
    await edge.discard(2 * MIB, MIB);
    await edge.flush();
    await edge.flush();
    const after = statsOf(node);
    const spent = (counter: "writes" | "bytesWritten" | "flushes" | "resizes" | "discards"): number =>
      (after.write?.[counter] ?? 0) - (before.write?.[counter] ?? 0);
    const written = lengths(controller, "write");
    expect(spent("writes")).toBe(written.length);
    expect(spent("bytesWritten")).toBe(written.reduce((sum, length) => sum + length, 0));
    expect(spent("flushes")).toBe(lengths(controller, "flush").length);
    expect(spent("discards")).toBe(lengths(controller, "discard").length);
    expect(after.dataWrite).toBeUndefined();
    await close();
  });

  test("an aligned allocating write of 1 MiB reads nothing and copies nothing; a flush is at most three barriers", async () => {
    await createImage(at("disk.qcow2"), 4096 * MIB);
    const { node, edge, close, controller } = await open();
    await edge.write(0, [Buffer.alloc(64 * KIB, 1)]);
    await edge.flush();
    controller.clearLog();
    for (let index = 1; index < 64; index += 1) {
      const before = statsOf(node).write;
      await edge.write(index * 64 * MIB, [Buffer.alloc(MIB, index)]);
      const after = statsOf(node).write;
      expect((after?.writes ?? 0) - (before?.writes ?? 0)).toBe(1);
      expect((after?.bytesWritten ?? 0) - (before?.bytesWritten ?? 0)).toBe(MIB);
      await edge.flush();
      expect((statsOf(node).write?.flushes ?? 0) - (after?.flushes ?? 0)).toBeLessThanOrEqual(3);
    }
    expect(lengths(controller, "read")).toEqual([]);
    expect(statsOf(node)).toMatchObject({ copiedBytes: 0, tableReads: 0 });
    await close();
  });

  test("written in pieces one after the other, a disk is read in large requests", async () => {
    await createImage(at("disk.qcow2"), 64 * MIB);
    const { edge, close, node } = await open();
    for (let offset = 0; offset < 16 * MIB; offset += 64 * KIB) {
      await edge.write(offset, [Buffer.alloc(64 * KIB, 1 + (offset >> 16))]);
    }
    await edge.flush();
    const before = statsOf(node).read;
    await read(edge, 0, 16 * MIB);
    const after = statsOf(node).read;
    expect(after.dataReads - before.dataReads).toBe(1);
    expect(after.dataBytes - before.dataBytes).toBe(16 * MIB);
    await close();
  });

  test("a gigabyte takes two tables, each read once, for its status and all of its reads", async () => {
    await createImage(at("disk.qcow2"), 4096 * MIB, { preallocation: "metadata" });
    const { edge, close, node, controller } = await open({ readOnly: true });
    const extents = new ExtentList();
    controller.clearLog();
    for (let offset = 0; offset < 1024 * MIB; offset = extents.next) {
      await edge.status(offset, 1024 * MIB - offset, extents);
    }
    expect(statsOf(node).tableReads).toBe(2);
    const buffer = [new Uint8Array(MIB)];
    for (let offset = 0; offset < 1024 * MIB; offset += 16 * MIB) await edge.read(offset, buffer);
    expect(statsOf(node).tableReads).toBe(2);
    // And a block of refcounts, once: it tells that the image was made in advance.
    expect(lengths(controller, "read").filter((length) => length === 64 * KIB)).toHaveLength(3);
    await close();
  });

  test("a cluster that a snapshot shares is copied with one read and one write", async () => {
    const file = at("disk.qcow2");
    await createImage(file, 64 * MIB);
    const first = await open();
    await first.edge.write(0, [Buffer.alloc(64 * KIB, 7)]);
    await first.close();
    const l1 = Number(peek64(file, 40));
    const l2 = Number(peek64(file, l1) & 0x00ff_ffff_ffff_fe00n);
    const data = Number(peek64(file, l2) & 0x00ff_ffff_ffff_fe00n);
    poke64(file, l2, BigInt(data));
    poke16(file, 0x20000 + (2 * data) / (64 * KIB), 2);
    const { edge, close, node, controller } = await open();
    await edge.write(MIB, [Buffer.alloc(64 * KIB, 1)]);
    await edge.flush();
    controller.clearLog();
    await edge.write(20 * KIB, [Buffer.alloc(4096, 9)]);
    expect(lengths(controller, "write")).toEqual([64 * KIB]);
    // Head and tail are near enough to be read together.
    expect(lengths(controller, "read")).toEqual([64 * KIB]);
    expect(statsOf(node).copiedBytes).toBe(64 * KIB);
    controller.clearLog();
    await edge.write(40 * KIB, [Buffer.alloc(4096, 8)]);
    expect(lengths(controller, "write")).toEqual([4096]);
    expect(lengths(controller, "read")).toEqual([]);
    await close();
  });

  test("over a backing file, a subcluster is all that is copied, and an aligned one is not", async () => {
    writeFileSync(at("base.raw"), Buffer.alloc(4 * MIB, 5));
    await createImage(at("disk.qcow2"), 4 * MIB, { extendedL2: true });
    const backing = { driver: "file", filename: at("base.raw"), readOnly: true };
    const { edge, close, node } = await open({ backing });
    await edge.write(10 * KIB, [Buffer.alloc(2 * KIB, 1)]);
    expect(statsOf(node)).toMatchObject({ copiedBytes: 0, read: { backingReads: 0 } });
    await edge.write(MIB + 100, [Buffer.alloc(100, 2)]);
    expect(statsOf(node).copiedBytes).toBeGreaterThan(0);
    expect(statsOf(node).copiedBytes).toBeLessThanOrEqual(2 * KIB);
    await close();
  });

  test("zeroing a whole disk writes tables, not zeroes", async () => {
    await createImage(at("disk.qcow2"), 2048 * MIB);
    const { edge, close, node } = await open();
    await edge.writeZeroes(0, 2048 * MIB, { unmap: true });
    await edge.flush();
    expect(statsOf(node).write?.zeroRequests).toBe(0);
    // Four tables of 64 KiB at most, refcounts, an L1 entry each.
    expect(statsOf(node).write?.bytesWritten).toBeLessThanOrEqual(5 * 64 * KIB + 4096);
    await close();
  });

  test("what is discarded in pieces is punched as one, after the flush that unlinked it", async () => {
    await createImage(at("disk.qcow2"), 64 * MIB);
    const { edge, close, controller } = await open();
    await edge.write(0, [Buffer.alloc(16 * MIB, 1)]);
    await edge.flush();
    controller.clearLog();
    for (let offset = 0; offset < 8 * MIB; offset += 64 * KIB) await edge.discard(offset, 64 * KIB);
    expect(lengths(controller, "discard")).toEqual([]);
    await edge.flush();
    await close();
    expect(lengths(controller, "discard")).toEqual([8 * MIB]);
  });

  test("a mapped raw data file is written without any metadata, and its flush is one barrier of each file", async () => {
    writeFileSync(at("disk.data"), "");
    const dataFile = { driver: "file", filename: at("disk.data") };
    await createImage(at("disk.qcow2"), 64 * MIB, { dataFile, dataFileRaw: true });
    const { edge, close, node, controller } = await open({ dataFile });
    await edge.write(0, [Buffer.alloc(MIB, 1)]);
    await edge.flush();
    await edge.flush();
    controller.clearLog();
    const before = statsOf(node).dataWrite;
    for (let index = 0; index < 32; index += 1) await edge.write(index * 2 * MIB, [Buffer.alloc(MIB, 2)]);
    expect(controller.log.filter(({ operation }) => operation !== "read")).toEqual([]);
    await edge.flush();
    const after = statsOf(node).dataWrite;
    expect((after?.writes ?? 0) - (before?.writes ?? 0)).toBe(32);
    expect((after?.flushes ?? 0) - (before?.flushes ?? 0)).toBe(1);
    expect(lengths(controller, "flush")).toHaveLength(1);
    expect(lengths(controller, "write")).toEqual([]);
    await close();
  });

  test("random writes of 4 KiB into stored clusters are just those, whatever they are flushed with", async () => {
    await createImage(at("disk.qcow2"), 64 * MIB, { preallocation: "metadata" });
    const { edge, close, node } = await open();
    await edge.write(0, [Buffer.alloc(4096, 1)]);
    await edge.flush();
    const before = statsOf(node);
    for (let index = 0; index < 100; index += 1) {
      await edge.write((index * 7919 * 4096) % (64 * MIB), [Buffer.alloc(4096, index)]);
    }
    await edge.flush();
    const after = statsOf(node);
    expect((after.write?.bytesWritten ?? 0) - (before.write?.bytesWritten ?? 0)).toBe(100 * 4096);
    expect((after.write?.flushes ?? 0) - (before.write?.flushes ?? 0)).toBe(1);
    await close();
  });
});
