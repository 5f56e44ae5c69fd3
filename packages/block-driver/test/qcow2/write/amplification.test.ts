import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { FaultController, type FaultOperation } from "../../../src/index.ts";
import { createImage } from "../support/create.ts";
import { openImage, read, type OpenImage } from "../support/open.ts";
import { scratchFiles } from "../support/scratch.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const at = scratchFiles();

let controller: FaultController;
let image: OpenImage;

/** Opens an image whose requests to its file are counted. */
async function open(size: number, options: Readonly<Record<string, unknown>> = {}): Promise<void> {
  await createImage(at("disk.qcow2"), size, options);
  controller = new FaultController();
  image = await openImage({
    driver: "fault",
    controller,
    file: { driver: "file", filename: at("disk.qcow2") },
  });
}

/** How many requests of that kind reached the file since the log was emptied. */
function count(operation: FaultOperation): number {
  return controller.log.filter((entry) => entry.operation === operation).length;
}

function lengths(operation: FaultOperation): number[] {
  return controller.log.filter((entry) => entry.operation === operation).map(({ length }) => length);
}

beforeEach(() => open(64 * MIB));
afterEach(() => image.close());

describe("requests to the file", () => {
  test("an aligned allocating write of 1 MiB is one write and no read", async () => {
    await image.edge.write(0, [Buffer.alloc(64 * KIB, 1)]);
    controller.clearLog();
    await image.edge.write(8 * MIB, [Buffer.alloc(MIB, 2)]);
    expect(lengths("write")).toEqual([MIB]);
    expect(count("read")).toBe(0);
    expect(count("flush")).toBe(0);
  });

  test("a write to clusters that are stored is one write of just its bytes, for contiguous clusters too", async () => {
    await image.edge.write(0, [Buffer.alloc(MIB, 1)]);
    controller.clearLog();
    await image.edge.write(1000, [Buffer.alloc(4096, 2)]);
    await image.edge.write(60 * KIB, [Buffer.alloc(512 * KIB, 3), Buffer.alloc(1000, 4)]);
    expect(lengths("write")).toEqual([4096, 512 * KIB + 1000]);
    expect(controller.log).toHaveLength(2);
  });

  test("a small write to a cluster that was never used writes no zeroes around it", async () => {
    await image.edge.write(0, [Buffer.alloc(512, 1)]);
    controller.clearLog();
    await image.edge.write(MIB + 4096, [Buffer.alloc(4096, 2)]);
    expect(lengths("write")).toEqual([4096]);
    expect(await read(image.edge, MIB, 12 * KIB)).toEqual(
      new Uint8Array(Buffer.concat([Buffer.alloc(4096), Buffer.alloc(4096, 2), Buffer.alloc(4096)])),
    );
  });

  test("a flush is at most three barriers, whatever it covers", async () => {
    const edge = image.edge;
    await image.close();
    await open(64 * MIB, { clusterSize: 512, refcountBits: 64 });
    expect(edge).not.toBe(image.edge);
    for (let offset = 0; offset < 64 * MIB; offset += 3 * MIB) {
      await image.edge.write(offset, [Buffer.alloc(100 * KIB, 1)]);
    }
    controller.clearLog();
    await image.edge.flush();
    expect(count("write")).toBeGreaterThan(10);
    expect(count("flush")).toBeLessThanOrEqual(3);
  });

  test("a flush after writes in place is one barrier and no write", async () => {
    await image.edge.write(0, [Buffer.alloc(MIB, 1)]);
    await image.edge.flush();
    await image.edge.flush();
    await image.edge.write(0, [Buffer.alloc(MIB, 2)]);
    controller.clearLog();
    await image.edge.flush();
    expect(count("write")).toBe(0);
    expect(count("flush")).toBe(1);
  });

  test("flushes that are asked for together share their barriers", async () => {
    await image.edge.write(0, [Buffer.alloc(MIB, 1)]);
    controller.clearLog();
    await Promise.all(Array.from({ length: 20 }, async () => image.edge.flush()));
    expect(count("flush")).toBeLessThanOrEqual(4);
  });

  test("metadata of a sequential gigabyte is a handful of writes", async () => {
    await image.close();
    await open(1024 * MIB);
    controller.clearLog();
    const piece = Buffer.alloc(8 * MIB, 7);
    for (let offset = 0; offset < 128 * MIB; offset += piece.length) await image.edge.write(offset, [piece]);
    await image.edge.flush();
    // 16 for the data; then refcounts, an L2 table and its L1 entry.
    expect(count("write")).toBeLessThanOrEqual(16 + 4);
    expect(count("read")).toBeLessThanOrEqual(3);
  });

  test("changed metadata is written without being asked for before there is much of it", async () => {
    await image.close();
    await open(1024 * MIB, { clusterSize: 512 });
    controller.clearLog();
    // Every write makes an L2 table of a cluster, all of which would stay in memory.
    for (let offset = 0; offset < 1000 * MIB; offset += 64 * KIB) {
      await image.edge.write(offset, [Buffer.alloc(512, 1)]);
    }
    expect(count("flush")).toBeGreaterThan(0);
    const written = lengths("write").reduce((sum, length) => sum + length, 0);
    expect(written).toBeGreaterThan(2 * MIB);
  });

  test("two sequential writers do not take each other's place", async () => {
    const piece = Buffer.alloc(64 * KIB, 1);
    for (let index = 0; index < 48; index += 1) {
      await image.edge.write(index * 64 * KIB, [piece]);
      await image.edge.write(32 * MIB + index * 64 * KIB, [piece]);
    }
    await image.edge.flush();
    controller.clearLog();
    await image.edge.write(0, [Buffer.alloc(48 * 64 * KIB, 2)]);
    expect(count("write")).toBeLessThanOrEqual(4);
  });

  test("an image that is only read, flushed and closed is not changed", async () => {
    controller.clearLog();
    await read(image.edge, 0, MIB);
    await image.edge.flush();
    await image.close();
    for (const operation of ["write", "writeZeroes", "discard", "resize"] as const) {
      expect(count(operation), operation).toBe(0);
    }
  });
});
