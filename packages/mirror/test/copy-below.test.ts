// Copies that the storage makes by itself, and what happens where it cannot.
import { rmSync } from "node:fs";
import { BlockError, type BlockNode } from "@blockmirror/block-driver";
import { afterEach, describe, expect, test } from "vitest";
import { Images, SIZE } from "./support/images.ts";
import { LendingDevice, type CopyPolicy } from "./support/lending-device.ts";
import { KIB, MIB, openRig, seededRandom, type Rig } from "./support/rig.ts";

/** Counts the bytes that go through this process on their way into a node, those that do not, and the requests for either. */
function watch(node: BlockNode): { written: number; copied: number; requests: number } {
  const counts = { written: 0, copied: 0, requests: 0 };
  const { device } = node.child("file")?.node ?? node;
  const { write, copyRange } = device;
  if (write === undefined || copyRange === undefined) throw new Error("not a file that takes copies");
  Object.assign(device, {
    write: (...[offset, from, options]: Parameters<typeof write>) => {
      counts.requests += 1;
      counts.written += from.reduce((sum, piece) => sum + piece.byteLength, 0);
      return write(offset, from, options);
    },
    copyRange: async (...request: Parameters<typeof copyRange>) => {
      counts.requests += 1;
      const copied = await copyRange(...request);
      counts.copied += copied;
      return copied;
    },
  });
  return counts;
}

describe("images in files", () => {
  const images: Images[] = [];
  afterEach(async () => {
    for (const each of images.splice(0)) {
      await each.close();
      rmSync(each.directory, { recursive: true, force: true });
    }
  });

  async function pair(
    source: string,
    target: string,
  ): Promise<{ images: Images; from: BlockNode; to: BlockNode }> {
    const made = new Images();
    images.push(made);
    for (const name of [source, target]) {
      if (name.endsWith(".raw")) made.createRaw(name);
      else await made.create(name);
    }
    return { images: made, from: await made.open(source), to: await made.open(target) };
  }

  test.each([
    ["source.raw", "target.raw"],
    ["source.qcow2", "target.raw"],
    ["source.raw", "target.qcow2"],
    ["source.qcow2", "target.qcow2"],
  ])("from %s to %s the data does not pass through the process", async (source, target) => {
    const { images: made, from, to } = await pair(source, target);
    await made.fill(from, [
      [0, 3 * MIB, 1],
      [5 * MIB, 512 * KIB, 2],
    ]);
    const counts = watch(to);
    await made.copy(from, to, { sync: "full" });
    expect(counts.copied).toBe(3 * MIB + 512 * KIB);
    // What is written is metadata.
    expect(counts.written).toBeLessThan(512 * KIB);
    expect(await made.content(to)).toEqual(await made.content(from));
  });

  /** Every cluster behind the one that follows it, as if a guest had written them in that order. */
  const backwards = Array.from({ length: SIZE / (64 * KIB) }, (_, index): [number, number, number] => [
    SIZE - (index + 1) * 64 * KIB,
    64 * KIB,
    1 + (index % 250),
  ]);

  test("a source in small pieces is read and written in large ones", async () => {
    const { images: made, from, to } = await pair("source.qcow2", "target.raw");
    await made.fill(from, backwards);
    const counts = watch(to);
    await made.copy(from, to, { sync: "full" });
    expect(counts).toEqual({ copied: 0, written: SIZE, requests: SIZE / MIB });
    expect(await made.content(to)).toEqual(await made.content(from));
  });

  test("into a target in small pieces nothing is copied piece by piece", async () => {
    const { images: made, from, to } = await pair("source.raw", "target.qcow2");
    await made.fill(to, backwards);
    await made.fill(from, [[0, SIZE, 7]]);
    const counts = watch(to);
    await made.copy(from, to, { sync: "full" });
    expect(counts.copied).toBe(0);
    expect(await made.content(to)).toEqual(await made.content(from));
  });

  test("holes too small to matter do not cut a copy", async () => {
    const { images: made, from, to } = await pair("source.raw", "target.raw");
    const holes = Array.from({ length: SIZE / (8 * KIB) }, (_, index): [number, number, number] => [
      index * 8 * KIB,
      4 * KIB,
      1 + (index % 250),
    ]);
    // All but one chunk.
    const gap = 3 * MIB;
    await made.fill(
      from,
      holes.filter(([offset]) => offset < gap || offset >= gap + 64 * KIB),
    );
    const counts = watch(to);
    await made.copy(from, to, { sync: "full" });
    expect(counts.copied + counts.written).toBe(SIZE - 64 * KIB);
    expect(counts.requests).toBeLessThanOrEqual(SIZE / MIB);
    expect(await made.content(to)).toEqual(await made.content(from));
  });

  test("of an image whose tables were made in advance only what was written is copied", async () => {
    const made = new Images();
    images.push(made);
    await made.create("source.qcow2", { preallocation: "metadata" });
    await made.create("target.qcow2");
    const [from, to] = [await made.open("source.qcow2"), await made.open("target.qcow2")];
    await made.fill(from, [
      [MIB + 5000, 3000, 1],
      [5 * MIB, 128 * KIB, 2],
    ]);
    const mirror = await made.copy(from, to, { sync: "full" });
    expect(mirror.job.snapshot().details).toMatchObject({ bytesCopied: 192 * KIB });
    expect(await made.content(to)).toEqual(await made.content(from));
  });

  test("a guest that goes on writing loses nothing", async () => {
    const { images: made, from, to } = await pair("source.qcow2", "target.qcow2");
    await made.fill(from, [[0, SIZE, 9]]);
    const model = Buffer.alloc(SIZE, 9);
    const guest = made.graph.attach(from, { name: "guest", uses: ["read", "write"], shares: ["read"] });
    const random = seededRandom(7);
    const life = { over: false };
    const writing = (async () => {
      for (let count = 0; !life.over; count += 1) {
        const length = Math.ceil(random() * 100 * KIB);
        const offset = Math.floor(random() * (SIZE - length));
        model.fill(count % 251, offset, offset + length);
        await guest.write(offset, [model.subarray(offset, offset + length)]);
      }
    })();
    const counts = watch(to);
    const { job } = await made.ready(from, to, { sync: "full" });
    await job.complete();
    expect(await job.done).toEqual({ outcome: "completed" });
    life.over = true;
    await writing;
    expect(counts.copied).toBeGreaterThan(0);
    await made.graph.detach(guest);
    expect((await made.content(to)).equals(model)).toBe(true);
  });
});

/** The target's device of a rig that copies below. */
function copiesOf(rig: Rig): number {
  const { device } = rig.target;
  if (!(device instanceof LendingDevice)) throw new Error("the rig does not copy below");
  return device.copies;
}

describe("storage that cannot always", () => {
  const size = 12 * MIB + 512;

  async function copied(copiesBelow: CopyPolicy): Promise<Rig> {
    const rig = await openRig({ size, copiesBelow });
    rig.fill("source", 0, size, 5);
    const { job } = await rig.mirror();
    await rig.until("BLOCK_JOB_READY");
    expect(rig.content("target").equals(rig.content("source"))).toBe(true);
    job.cancel({ force: true });
    await rig.run(job.done);
    return rig;
  }

  test("what it leaves is read and written", async () => {
    const rig = await copied((_count, length) => Math.floor(length / 3));
    expect(copiesOf(rig)).toBeGreaterThan(10);
  });

  test("a copy that fails is made anew, and nobody is told", async () => {
    const rig = await copied((count, length) => {
      if (count % 2 === 0) throw new BlockError("EIO", "not today");
      return length;
    });
    expect(rig.history()).not.toContain("BLOCK_JOB_ERROR");
  });

  test("who never can is not asked for ever", async () => {
    const rig = await copied(() => 0);
    expect(copiesOf(rig)).toBeLessThan(30);
  });

  test.each([
    ["read", "sourceFaults"],
    ["write", "targetFaults"],
  ] as const)("an error that stays is reported on its side: %s", async (operation, side) => {
    const rig = await openRig({ size, copiesBelow: (_count, length) => length });
    rig.fill("source", 0, size, 5);
    rig[side].add({ operation, error: "EIO", times: 0 });
    const { job } = await rig.mirror();
    expect(await rig.run(job.done)).toMatchObject({ outcome: "failed", error: { code: "EIO" } });
    const event = rig.events.find((entry) => entry.event === "BLOCK_JOB_ERROR");
    expect(event?.data).toMatchObject({ operation });
  });

  test("bytes are not trusted to it where zeroes are looked for", async () => {
    const rig = await openRig({ size: 4 * MIB, copiesBelow: (_count, length) => length });
    rig.fill("source", 0, MIB, 5);
    rig.fill("target", 0, 4 * MIB, 6);
    const { job } = await rig.mirror({ detectZeroes: true });
    await rig.until("BLOCK_JOB_READY");
    expect(copiesOf(rig)).toBe(0);
    expect(rig.content("target").equals(rig.content("source"))).toBe(true);
    job.cancel({ force: true });
    await rig.run(job.done);
  });
});
