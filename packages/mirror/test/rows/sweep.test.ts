// Mirror rules S7 to S16: which chunks are copied, when, and in which order things happen to one of them.
import { expect, test } from "vitest";
import type { Mirror } from "../../src/index.ts";
import { openChain } from "../support/chain.ts";
import { KIB, MIB, openRig, type Rig } from "../support/rig.ts";

const SIZE = 4 * MIB;

interface Seen {
  readonly offset: number;
  readonly length: number;
}

function requests(rig: Rig, side: "source" | "target", operation: string): readonly Seen[] {
  const { log } = side === "source" ? rig.sourceFaults : rig.targetFaults;
  return log
    .filter((entry) => entry.operation === operation)
    .map(({ offset, length }) => ({ offset, length }));
}

async function end(rig: Rig, { job }: Mirror): Promise<void> {
  job.cancel({ force: true });
  await rig.run(job.done);
}

test("S7.1, S7.2, S7.3: never more than 16 operations; the job waits for one to end and looks again", async () => {
  const rig = await openRig({ size: 64 * MIB, latency: () => 10 });
  rig.fill("source", 0, 64 * MIB, 1);
  // Room for 32 operations of 2 MiB: it is not the buffer that limits them.
  const mirror = await rig.mirror({ bufferSize: 64 * MIB });
  let most = 0;
  while (mirror.job.snapshot().status !== "ready") {
    await rig.clock.advance(1);
    const details = mirror.job.snapshot().details;
    most = Math.max(most, details?.inFlightOperations ?? 0);
  }
  expect(most).toBe(16);
  expect(requests(rig, "target", "write").reduce((sum, { length }) => sum + length, 0)).toBe(64 * MIB);
  await end(rig, mirror);
});

// S9 and S10 by other means: a chunk is never smaller than a cluster of a target that names a closed backing file, so the
// bitmap of filled clusters and the widening are not needed (decision 0006).
test("S9.1 to S9.5, S10.1 to S10.3: deviation: chunks are as large as the target's clusters instead of being widened", async () => {
  const chain = await openChain({ base: SIZE, overlays: [SIZE] });
  await chain.fill("base-memory", 0, SIZE, 1);
  await chain.fill("overlay0", 100 * KIB, 512, 2);
  const { graph, jobs, top } = chain;
  await graph.open({ driver: "memory", nodeName: "copy-memory", size: 0 });
  await graph.create("qcow2", {
    file: "copy-memory",
    size: SIZE,
    clusterSize: 256 * KIB,
    backingFile: "base.raw",
    backingFormat: "raw",
  });
  const target = await graph.open({ driver: "qcow2", nodeName: "copy", file: "copy-memory", backing: null });
  const { startMirror } = await import("../../src/index.ts");
  const options = { graph, jobs, source: top, target, sync: "top" as const, autoDismiss: false };
  const mirror = await chain.run(startMirror({ id: "m", ...options, granularity: 64 * KIB }));
  expect(mirror.job.snapshot().details).toMatchObject({ granularity: 256 * KIB });
  await chain.until("BLOCK_JOB_READY");
  const copied = await chain.content(target);
  expect(copied.subarray(0, 256 * KIB).equals((await chain.content(top)).subarray(0, 256 * KIB))).toBe(true);
  mirror.job.cancel({ force: true });
  await chain.run(mirror.job.done);
});

test("S11.2, D7: a chunk is dirty as soon as a part of it is allocated, and copied whole", async () => {
  const chain = await openChain({ base: SIZE, overlays: [SIZE] });
  await chain.fill("base-memory", 0, SIZE, 1);
  // One cluster of 64 KiB in the middle of a chunk of 256 KiB.
  await chain.fill("overlay0", 320 * KIB, 512, 2);
  const target = await chain.graph.open({ driver: "memory", nodeName: "copy", size: SIZE });
  const { startMirror } = await import("../../src/index.ts");
  const { graph, jobs, top } = chain;
  const mirror = await chain.run(
    startMirror({
      id: "m",
      graph,
      jobs,
      source: top,
      target,
      sync: "top",
      granularity: 256 * KIB,
      autoDismiss: false,
    }),
  );
  await chain.until("BLOCK_JOB_READY");
  expect(mirror.job.snapshot().details).toMatchObject({ bytesCopied: 256 * KIB });
  const [copy, shown] = [await chain.content(target), await chain.content(top)];
  expect(copy.subarray(256 * KIB, 512 * KIB).equals(shown.subarray(256 * KIB, 512 * KIB))).toBe(true);
  mirror.job.cancel({ force: true });
  await chain.run(mirror.job.done);
});

test("S11.4, D16: a pause or a cancel during the scan is noticed at once", async () => {
  const rig = await openRig({ size: SIZE, latency: () => 50 });
  rig.fill("source", 0, SIZE, 1);
  const paused = await rig.mirror();
  paused.job.pause();
  // What is on its way takes 200 ms.
  await rig.clock.advance(300);
  expect(paused.job.status).toBe("paused");
  paused.job.cancel({ force: true });
  await rig.run(paused.job.done);
  expect(rig.clock.now()).toBeLessThanOrEqual(500);
});

test("S12.1, S12.2, S12.3: ascending; what is written behind the walk waits for the next sweep, and nothing is looked at twice", async () => {
  const rig = await openRig({ size: SIZE, latency: () => 10 });
  rig.fill("source", 0, SIZE, 1);
  const guest = rig.guest();
  const mirror = await rig.mirror({ granularity: 64 * KIB, bufferSize: 256 * KIB });
  await rig.clock.advance(100);
  await rig.run(Promise.resolve(guest.write(0, [Buffer.alloc(512, 9)])));
  await rig.until("BLOCK_JOB_READY");
  const writes = requests(rig, "target", "write");
  const first = writes.slice(0, -1).map(({ offset }) => offset);
  expect(first).toEqual(first.toSorted((a, b) => a - b));
  expect(writes.at(-1)?.offset).toBe(0);
  expect(writes.reduce((sum, { length }) => sum + length, 0)).toBe(SIZE + 64 * KIB);
  await end(rig, mirror);
});

test("S12.4: the live bitmap decides: chunks that a guest brought to the target itself are passed over", async () => {
  const rig = await openRig({ size: SIZE, latency: () => 10 });
  rig.fill("source", 0, SIZE, 1);
  const guest = rig.guest();
  const mirror = await rig.mirror({
    granularity: 64 * KIB,
    bufferSize: 128 * KIB,
    copyMode: "write-blocking",
  });
  await rig.clock.advance(100);
  // It begins where the copy has been already, so it goes to both sides.
  await rig.run(Promise.resolve(guest.write(0, [Buffer.alloc(3.5 * MIB, 9)])));
  await rig.until("BLOCK_JOB_READY");
  const reads = requests(rig, "source", "read").filter(
    ({ offset }) => offset >= 3 * MIB && offset < 3.5 * MIB,
  );
  expect(reads).toEqual([]);
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  await end(rig, mirror);
});

test("S13.2, D22: no operation is larger than 2 MiB, however large the buffer and however small the chunk", async () => {
  const rig = await openRig({ size: 16 * MIB });
  rig.fill("source", 0, 16 * MIB, 1);
  const mirror = await rig.mirror({ granularity: 4 * KIB, bufferSize: 64 * MIB });
  await rig.until("BLOCK_JOB_READY");
  const lengths = requests(rig, "target", "write").map(({ length }) => length);
  expect(Math.max(...lengths)).toBeLessThanOrEqual(2 * MIB);
  expect(Math.min(...lengths)).toBeGreaterThan(4 * KIB);
  await end(rig, mirror);
});

test("S14.2, D23: other dirty bitmaps of the source keep their bits", async () => {
  const rig = await openRig({ size: SIZE });
  rig.fill("source", 0, SIZE, 1);
  const other = rig.source.createDirtyBitmap({ name: "backup", granularity: 64 * KIB });
  other.bits.set(MIB, 256 * KIB);
  const mirror = await rig.mirror();
  await rig.until("BLOCK_JOB_READY");
  expect(other.dirtyBytes).toBe(256 * KIB);
  mirror.job.cancel();
  await rig.run(mirror.job.done);
  expect(other.dirtyBytes).toBe(256 * KIB);
});

test("S14.1, S15.1: the bit is cleared before the chunk is read: a write that lands in between is copied again", async () => {
  const rig = await openRig({ size: 64 * KIB });
  rig.fill("source", 0, 64 * KIB, 1);
  const guest = rig.guest();
  rig.targetFaults.add({ operation: "write", hold: true });
  const mirror = await rig.mirror();
  while (rig.targetFaults.held.length === 0) await rig.clock.advance(5);
  // Read and not yet written: what is on its way is old from now on.
  await rig.run(Promise.resolve(guest.write(0, [Buffer.alloc(512, 7)])));
  expect(mirror.job.snapshot().details?.dirtyBytes).toBe(64 * KIB);
  rig.targetFaults.release();
  await rig.until("BLOCK_JOB_READY");
  expect(rig.content("target")[0]).toBe(7);
  await end(rig, mirror);
});

test("S15.2: an operation that ended gives its slot, pieces and chunks back, and is told", async () => {
  const rig = await openRig({ size: SIZE, latency: () => 5 });
  rig.fill("source", 0, SIZE, 1);
  const mirror = await rig.mirror({ bufferSize: 128 * KIB, granularity: 64 * KIB });
  await rig.until("BLOCK_JOB_READY");
  expect(mirror.job.snapshot().details).toMatchObject({
    inFlightBytes: 0,
    inFlightOperations: 0,
    bytesCopied: SIZE,
  });
  const map = mirror.map(8);
  expect(Array.from(map.copied)).toEqual(Array.from({ length: 8 }, () => map.copied[0]));
  await end(rig, mirror);
});

test("S16.1, S16.2: what failed is dirty again, and a later sweep copies it", async () => {
  const rig = await openRig({ size: MIB });
  rig.fill("source", 0, MIB, 1);
  rig.sourceFaults.add({ operation: "read", error: "EIO" });
  const mirror = await rig.mirror({ onSourceError: "ignore", granularity: 64 * KIB });
  await rig.clock.advance(20);
  expect(mirror.job.snapshot().details?.dirtyBytes).toBeGreaterThan(0);
  await rig.until("BLOCK_JOB_READY");
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  await end(rig, mirror);
});
