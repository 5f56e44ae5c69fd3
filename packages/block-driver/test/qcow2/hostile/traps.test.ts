import { readFileSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { expect, test } from "vitest";
import { BlockGraph, createDefaultRegistry, directoryGate, FaultController } from "../../../src/index.ts";
import { failure } from "../../support/graphs.ts";
import { checkFile } from "../support/check.ts";
import { createImage } from "../support/create.ts";
import { openImage, read, withImage } from "../support/open.ts";
import { peek64, poke, poke32, poke64 } from "../support/poke.ts";
import { scratchFiles } from "../support/scratch.ts";
import { DISK_BYTES, makeVictim, MIB } from "./victim.ts";

const KIB = 1024;
const TIB = 1024 * 1024 * MIB;
const at = scratchFiles();

const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);

/*
 * Where other implementations of the format went wrong once. Those that have a test of their own elsewhere are named there.
 */

test("J01: a header that is written anew keeps what nobody knows, and the flags it had", async () => {
  const file = at("disk.qcow2");
  await createImage(file, MIB, { lazyRefcounts: true });
  // Eight bytes that a later version may have added, a compatible feature, and an extension.
  const extensions = readFileSync(file).subarray(112, 1024);
  poke(file, 120, extensions);
  poke32(file, 100, 120);
  poke64(file, 112, 0x1122_3344_5566_7788n);
  poke64(file, 80, peek64(file, 80) | (1n << 40n));
  const end = 120 + lengthOfExtensions(file);
  poke(file, end, Buffer.from("\x12\x34\x56\x78\0\0\0\x05stays\0\0\0\0\0\0\0\0\0\0\0", "latin1"));
  await withImage(file, ({ graph, node }) =>
    graph.changeBackingFile(node, { filename: "base.raw", format: "raw" }),
  );
  const after = readFileSync(file);
  expect(after.readUInt32BE(100)).toBe(120);
  expect(after.readBigUInt64BE(112)).toBe(0x1122_3344_5566_7788n);
  expect(after.readBigUInt64BE(80)).toBe(1n | (1n << 40n));
  expect(after.subarray(0, 64 * KIB).includes("stays")).toBe(true);
  expect(after.subarray(0, 64 * KIB).includes("base.raw")).toBe(true);
});

/** Up to the mark of their end, for an image with a header of 120 bytes. */
function lengthOfExtensions(file: string): number {
  const bytes = readFileSync(file).subarray(120);
  let length = 0;
  while (bytes.readUInt32BE(length) !== 0) length += 8 + Math.ceil(bytes.readUInt32BE(length + 4) / 8) * 8;
  return length;
}

test("J02: entries of tables that have one user say so", async () => {
  for (const create of [{}, { extendedL2: true }, { clusterSize: 512 }, { version: "v2" }]) {
    const { file, l1, l2 } = await makeVictim(at(`${JSON.stringify(create)}.qcow2`), create);
    expect(peek64(file, l1) >> 63n, JSON.stringify(create)).toBe(1n);
    expect(peek64(file, l2) >> 63n, JSON.stringify(create)).toBe(1n);
  }
});

test("J05: writing and flushing the same place for ever does not make the file grow", async () => {
  const file = at("disk.qcow2");
  await createImage(file, MIB, { clusterSize: 512, refcountBits: 64 });
  const rounds = async (count: number): Promise<number> => {
    await withImage(file, async ({ edge }) => {
      for (let round = 0; round < count; round += 1) {
        await edge.write(0, [filled(20_000, 1 + (round % 255))]);
        await edge.flush();
        await edge.discard(0, 20_480);
        await edge.flush();
      }
    });
    const { leaks, corruptions, imageEndOffset } = await checkFile(file);
    expect([leaks, corruptions]).toEqual([0, 0]);
    return imageEndOffset;
  };
  const soon = await rounds(5);
  expect(await rounds(200)).toBeLessThanOrEqual(soon);
});

test("J09: the backing format of a version 2 image is known, though its header has no length", async () => {
  await createImage(at("base.qcow2"), MIB);
  await withImage(at("base.qcow2"), async ({ edge }) => edge.write(0, [filled(MIB, 5)]));
  const file = at("disk.qcow2");
  await createImage(file, MIB, { version: "v2", backingFile: "base.qcow2", backingFormat: "qcow2" });
  const graph = new BlockGraph({ registry: createDefaultRegistry(), gate: directoryGate([dirname(file)]) });
  const node = await graph.open({
    driver: "qcow2",
    readOnly: true,
    file: { driver: "file", filename: file },
  });
  expect(node.child("backing")?.node.info.driver).toBe("qcow2");
  const bytes = new Uint8Array(MIB);
  await node.read(0, [bytes]);
  expect(bytes.every((byte) => byte === 5)).toBe(true);
  await graph.closeAll();
});

test.each([
  ["an unknown feature", (file: string) => poke64(file, 72, 1n << 20n)],
  [
    "a backing file that is denied",
    (file: string) => {
      poke(file, 0x1000, Buffer.from("/etc/passwd"));
      poke64(file, 8, 0x1000n);
      poke32(file, 16, 11);
    },
  ],
  [
    "a bad list of snapshots",
    (file: string) => {
      poke32(file, 60, 3);
      poke64(file, 64, 0x10_0000n);
    },
  ],
])("J10: unknown autoclear features stay where opening fails afterwards: %s", async (_name, damage) => {
  const { file } = await makeVictim(at("disk.qcow2"));
  poke64(file, 88, 1n << 40n);
  damage(file);
  const before = readFileSync(file);
  await expect(openImage(file)).rejects.toMatchObject({ name: "BlockError" });
  expect(readFileSync(file).equals(before)).toBe(true);
});

test("J13: beyond 4 TiB every part of the disk is its own", async () => {
  const file = at("disk.qcow2");
  await createImage(file, 9 * TIB);
  const places = [0, 2 ** 31, 2 ** 32, 4 * TIB, 4 * TIB + 2 ** 32, 8 * TIB, 9 * TIB - 512];
  await withImage(file, async ({ edge }) => {
    for (const [index, offset] of places.entries()) await edge.write(offset, [filled(512, index + 1)]);
  });
  await withImage(file, async ({ edge }) => {
    for (const [index, offset] of places.entries()) {
      expect(await read(edge, offset, 512)).toEqual(filled(512, index + 1));
    }
  });
  expect(await checkFile(file)).toMatchObject({ corruptions: 0, leaks: 0, allocatedClusters: places.length });
});

test("J14: a file that cannot punch holes keeps its length, and what was discarded reads as zeroes", async () => {
  const file = at("disk.qcow2");
  await createImage(file, MIB);
  const controller = new FaultController();
  controller.add({ operation: "discard", error: "ENOTSUP", times: 0 });
  const below = { driver: "fault", controller, file: { driver: "file", filename: file } };
  let length = 0;
  await withImage(below, async ({ edge }) => {
    await edge.write(0, [filled(MIB, 7)]);
    await edge.flush();
    length = statSync(file).size;
    await edge.discard(0, 512 * KIB);
    await edge.writeZeroes(512 * KIB, 256 * KIB, { unmap: true });
    await edge.flush();
    expect(await read(edge, 0, 768 * KIB)).toEqual(filled(768 * KIB, 0));
    expect(statSync(file).size).toBe(length);
    // The space is used again, and nothing of what it held shows.
    await edge.write(100, [filled(1000, 8)]);
    expect(await read(edge, 1100, 64 * KIB - 1100)).toEqual(filled(64 * KIB - 1100, 0));
  });
  expect(await checkFile(file)).toMatchObject({ corruptions: 0, leaks: 0 });
});

test("J15: a size that is no multiple of a sector is the same to a writer as to a reader", async () => {
  const { file } = await makeVictim(at("disk.qcow2"));
  poke64(file, 24, BigInt(DISK_BYTES - 100));
  await withImage(file, async ({ node, edge }) => {
    expect(node.size).toBe(DISK_BYTES - 512);
    await edge.write(DISK_BYTES - 1024, [filled(512, 3)]);
    await failure("EINVAL", () => edge.write(DISK_BYTES - 512, [filled(1, 4)]));
    await edge.discard(DISK_BYTES - 64 * KIB, 64 * KIB - 512);
    expect(await read(edge, DISK_BYTES - 1024, 512)).toEqual(filled(512, 0));
  });
  expect(peek64(file, 24)).toBe(BigInt(DISK_BYTES - 100));
  expect(await checkFile(file)).toMatchObject({ corruptions: 0, leaks: 0 });
});
