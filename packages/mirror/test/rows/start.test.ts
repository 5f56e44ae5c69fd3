/// <reference lib="es2024.arraybuffer" />
// Mirror rules S1 to S6: what a job is, how it starts, and the memory it works with.
import { expect, test, vi } from "vitest";
import { startCommit, startMirror } from "../../src/index.ts";
import { openChain } from "../support/chain.ts";
import { KIB, MIB, openRig } from "../support/rig.ts";

const SIZE = 4 * MIB;

test("S1.1, S1.2: one engine, two kinds of job with the same verbs, that differ in name and in what they change at the end", async () => {
  const rig = await openRig({ size: SIZE });
  const chain = await openChain({ base: SIZE, overlays: [SIZE] });
  const [mirror, commit] = [await rig.mirror(), await chain.commit()];
  expect([mirror.job.snapshot().type, commit.job.snapshot().type]).toEqual(["mirror", "commit"]);
  await rig.until("BLOCK_JOB_READY");
  await chain.until("BLOCK_JOB_READY");
  for (const { job } of [mirror, commit]) {
    job.setSpeed(MIB);
    expect(job.snapshot().speed).toBe(MIB);
  }
  await rig.run(mirror.job.complete());
  await chain.run(commit.job.complete());
  await rig.run(mirror.job.done);
  await chain.run(commit.job.done);
  expect([mirror.switched, commit.switched]).toEqual([true, true]);
});

test("S1.3: a mirror takes source, target, speed, granularity, buffer, sync mode and a policy for each side", async () => {
  const rig = await openRig({ size: SIZE });
  const { job } = await rig.mirror({
    speed: 2 * MIB,
    granularity: 128 * KIB,
    bufferSize: MIB,
    sync: "none",
    onSourceError: "stop",
    onTargetError: "ignore",
  });
  expect(job.snapshot()).toMatchObject({
    speed: 2 * MIB,
    details: { granularity: 128 * KIB, sync: "none", source: "source", target: "target", size: SIZE },
  });
  job.cancel({ force: true });
  await rig.run(job.done);
});

test("S1.4, D20: a commit has one policy for both sides, and the same buffer and coalescing as a mirror", async () => {
  const chain = await openChain({ base: SIZE, overlays: [SIZE] });
  await chain.fill("overlay0", 0, SIZE, 7);
  chain.baseFaults.add({ operation: "write", error: "EIO" });
  const { job } = await chain.commit({ onError: "stop" });
  await chain.clock.advance(500);
  expect(job.snapshot()).toMatchObject({ status: "paused", ioStatus: "failed" });
  job.resume();
  await chain.until("BLOCK_JOB_READY");
  const writes = chain.baseFaults.log.filter(({ operation }) => operation === "write");
  expect(Math.max(...writes.map(({ length }) => length))).toBeGreaterThanOrEqual(MIB);
  job.cancel({ force: true });
  await chain.run(job.done);
});

test("S2.3, S2.4: top copies what is above the backing node; without one it is full", async () => {
  const chain = await openChain({ base: SIZE, overlays: [SIZE] });
  await chain.fill("base-memory", 0, SIZE, 1);
  await chain.fill("overlay0", 64 * KIB, 64 * KIB, 2);
  const target = await chain.graph.open({ driver: "memory", nodeName: "copy", size: SIZE });
  const { graph, jobs, top } = chain;
  const mirror = await chain.run(
    startMirror({ id: "m", graph, jobs, source: top, target, sync: "top", autoDismiss: false }),
  );
  await chain.until("BLOCK_JOB_READY");
  expect(mirror.job.snapshot().details).toMatchObject({ bytesCopied: 64 * KIB });
  mirror.job.cancel({ force: true });
  await chain.run(mirror.job.done);

  const rig = await openRig({ size: SIZE });
  rig.fill("source", 0, SIZE, 1);
  await rig.mirror({ sync: "top" });
  await rig.until("BLOCK_JOB_READY");
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
});

test("S3.1, S8.1, S8.2, D2: chunks of one bit each, the short one at the end included; none stays in flight or dirty", async () => {
  const rig = await openRig({ size: SIZE + 5 * 512, latency: () => 5 });
  rig.fill("source", 0, SIZE + 5 * 512, 1);
  const guest = rig.guest();
  const mirror = await rig.mirror({ granularity: 64 * KIB });
  await rig.until("BLOCK_JOB_READY");
  expect(mirror.job.snapshot().details).toMatchObject({ bytesCopied: SIZE + 5 * 512, dirtyBytes: 0 });
  for (let round = 0; round < 3; round += 1) {
    await rig.run(Promise.resolve(guest.write(SIZE + 512, [Buffer.alloc(512, 10 + round)])));
    await rig.clock.advance(500);
    expect(mirror.job.snapshot().details).toMatchObject({
      dirtyBytes: 0,
      inFlightBytes: 0,
      inFlightOperations: 0,
    });
  }
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  mirror.job.cancel({ force: true });
  await rig.run(mirror.job.done);
});

test("S4.1: a policy that stops works for a source of any kind: the I/O status is the job's", async () => {
  const rig = await openRig({ size: SIZE });
  rig.fill("source", 0, SIZE, 1);
  rig.sourceFaults.add({ operation: "read", error: "EIO" });
  const { job } = await rig.mirror({ onSourceError: "stop" });
  await rig.clock.advance(300);
  expect(job.snapshot()).toMatchObject({ status: "paused", ioStatus: "failed" });
  job.cancel({ force: true });
  await rig.run(job.done);
});

test("S4.3, S4.4: the bitmap is there before control returns: a write right after the start is copied", async () => {
  const rig = await openRig({ size: SIZE });
  const guest = rig.guest();
  const mirror = await rig.mirror({ sync: "none" });
  await rig.run(Promise.resolve(guest.write(MIB, [Buffer.alloc(512, 5)])));
  await rig.until("BLOCK_JOB_READY");
  await rig.clock.advance(500);
  expect(rig.content("target")[MIB]).toBe(5);
  mirror.job.cancel({ force: true });
  await rig.run(mirror.job.done);
});

test.each([
  [1, 1],
  [100_000, 2],
  [64 * KIB + 512, 2],
])(
  "S4.5, S6.1, S6.2, D11: a buffer of %i bytes has %i whole chunks, and the copy is whole",
  async (bufferSize, chunks) => {
    const rig = await openRig({ size: SIZE });
    rig.fill("source", 0, SIZE, 1);
    const mirror = await rig.mirror({ bufferSize, granularity: 64 * KIB });
    await rig.until("BLOCK_JOB_READY");
    const writes = rig.targetFaults.log.filter(({ operation }) => operation === "write");
    expect(Math.max(...writes.map(({ length }) => length))).toBe(chunks * 64 * KIB);
    expect(rig.content("target").equals(rig.content("source"))).toBe(true);
    mirror.job.cancel({ force: true });
    await rig.run(mirror.job.done);
  },
);

test("S5.1: writes of the job are plain; durability comes from flushes", async () => {
  const rig = await openRig({ size: SIZE });
  rig.fill("source", 0, SIZE, 1);
  const mirror = await rig.mirror();
  await rig.until("BLOCK_JOB_READY");
  const { log } = rig.targetFaults;
  expect(log.at(-1)?.operation).toBe("flush");
  expect(log.filter(({ operation }) => operation === "flush")).toHaveLength(1);
  mirror.job.cancel({ force: true });
  await rig.run(mirror.job.done);
});

test("S5.2, S5.3: errors of the target follow the job's policy as long as the job lives, and leave nothing behind", async () => {
  const rig = await openRig({ size: SIZE });
  rig.fill("source", 0, SIZE, 1);
  rig.targetFaults.add({ operation: "write", error: "EIO" });
  const { job } = await rig.mirror({ onTargetError: "stop" });
  await rig.clock.advance(500);
  expect(job.snapshot().ioStatus).toBe("failed");
  job.cancel({ force: true });
  await rig.run(job.done);
  // The target is nobody's any more, and takes writes.
  const edge = rig.graph.attach(rig.target, { name: "next", uses: ["write"], shares: ["read"] });
  await rig.run(Promise.resolve(edge.write(0, [Buffer.alloc(512, 3)])));
  expect([...rig.target.parents]).toEqual([edge]);
});

test("S3.3, S6.3, D24: a granularity that cannot be, or a buffer that there is no memory for, is an error that names the remedy", async () => {
  const rig = await openRig({ size: SIZE });
  await expect(rig.mirror({ bufferSize: 2 ** 40 })).rejects.toThrow(/buffer size/u);
  await expect(rig.mirror({ granularity: 3000 })).rejects.toThrow(/granularity must be a power of two/u);
  const bufferSize = 3 * MIB;
  vi.stubGlobal(
    "ArrayBuffer",
    class extends ArrayBuffer {
      constructor(size: number, options?: { readonly maxByteLength: number }) {
        if (options?.maxByteLength === bufferSize) throw new RangeError("Array buffer allocation failed");
        super(size, options);
      }
    },
  );
  try {
    await expect(rig.mirror({ bufferSize })).rejects.toThrow(
      `cannot allocate a mirror buffer of ${bufferSize} bytes; ask for a smaller buffer`,
    );
  } finally {
    vi.unstubAllGlobals();
  }
  expect([...rig.source.parents]).toEqual([]);
  expect(rig.graph.find("#mirror-m0")).toBeUndefined();
});

test("S6.3: memory that is gone when the copy wants its buffer ends the job with the remedy, and harms nobody", async () => {
  const rig = await openRig({ size: SIZE });
  rig.fill("source", 0, SIZE, 1);
  const bufferSize = 3 * MIB;
  vi.stubGlobal(
    "ArrayBuffer",
    class extends ArrayBuffer {
      override resize(size: number): void {
        if (size === bufferSize) throw new RangeError("Array buffer resize failed");
        super.resize(size);
      }
    },
  );
  try {
    const { job } = await rig.mirror({ bufferSize });
    await rig.run(job.done);
    expect(job.snapshot().error?.message).toContain(
      `there is no memory left for a mirror buffer of ${bufferSize} bytes; ask for a smaller buffer`,
    );
  } finally {
    vi.unstubAllGlobals();
  }
  expect([...rig.source.parents]).toEqual([]);
});

test("4a7b1bd18d: zeroes that cover no chunk in full, on the target and in a guest's request, are no zero chunk", async () => {
  const rig = await openRig({ size: SIZE });
  rig.fill("source", 0, SIZE, 1);
  rig.fill("target", 0, 4 * KIB, 9);
  rig.fill("target", 8 * KIB, SIZE - 8 * KIB, 9);
  const guest = rig.guest();
  const mirror = await rig.mirror({ granularity: MIB, copyMode: "write-blocking" });
  await rig.until("BLOCK_JOB_READY");
  await rig.run(Promise.resolve(guest.writeZeroes(MIB + 512, 1024)));
  await rig.clock.advance(200);
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  expect(rig.content("target")[MIB]).toBe(1);
  mirror.job.cancel({ force: true });
  await rig.run(mirror.job.done);
});

test("S6.4: with a buffer of one chunk, one operation runs at a time, and every piece comes back", async () => {
  const rig = await openRig({ size: MIB, latency: () => 3 });
  rig.fill("source", 0, MIB, 1);
  rig.targetFaults.add({ operation: "write", nth: 3, times: 2, error: "EIO" });
  const mirror = await rig.mirror({ bufferSize: 64 * KIB, granularity: 64 * KIB, onTargetError: "ignore" });
  await rig.until("BLOCK_JOB_READY");
  const { log } = rig.targetFaults;
  expect(
    log.filter(({ operation }) => operation === "write").every(({ length }) => length === 64 * KIB),
  ).toBe(true);
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  mirror.job.cancel({ force: true });
  await rig.run(mirror.job.done);
});

test("D19, D13: what cannot be started leaves nothing: no filter, no bitmap, no claim", async () => {
  const rig = await openRig({ size: SIZE, targetSize: SIZE - 512 });
  await expect(rig.mirror()).rejects.toThrow(/different sizes/u);
  const { graph, jobs, source } = rig;
  await expect(startCommit({ id: "c", graph, jobs, top: source, base: rig.target })).rejects.toThrow(
    /not in the backing chain/u,
  );
  expect([...rig.source.parents, ...rig.target.parents]).toEqual([]);
  expect([...rig.source.dirtyBitmaps]).toEqual([]);
});
