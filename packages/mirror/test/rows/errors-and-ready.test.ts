// Mirror rules S17 to S24: errors, pace, READY and progress.
import { expect, test } from "vitest";
import type { Mirror } from "../../src/index.ts";
import { KIB, MIB, openRig, type Rig } from "../support/rig.ts";

const SIZE = 4 * MIB;

async function end(rig: Rig, { job }: Mirror): Promise<void> {
  job.cancel({ force: true });
  await rig.run(job.done);
}

test("S17.6: every error is announced, with its direction and what is done about it", async () => {
  const rig = await openRig({ size: SIZE });
  rig.fill("source", 0, SIZE, 1);
  rig.sourceFaults.add({ operation: "read", error: "EIO" });
  rig.targetFaults.add({ operation: "write", error: "ENOSPC" });
  const mirror = await rig.mirror({ onSourceError: "ignore", onTargetError: "ignore" });
  await rig.until("BLOCK_JOB_READY");
  const told = rig.events.filter(({ event }) => event === "BLOCK_JOB_ERROR").map(({ data }) => data);
  expect(told).toHaveLength(2);
  expect(told).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ operation: "read", action: "ignore" }),
      expect.objectContaining({ operation: "write", action: "ignore" }),
    ]),
  );
  await end(rig, mirror);
});

test("S18.1, S18.2: nothing is submitted while the I/O status is not ok; resume makes it ok again", async () => {
  const rig = await openRig({ size: SIZE });
  rig.fill("source", 0, SIZE, 1);
  rig.targetFaults.add({ operation: "write", nth: 2, error: "EIO" });
  const mirror = await rig.mirror({ onTargetError: "stop" });
  await rig.clock.advance(200);
  const before = rig.sourceFaults.log.length;
  await rig.clock.advance(10_000);
  expect(rig.sourceFaults.log.length).toBe(before);
  mirror.job.resume();
  expect(mirror.job.snapshot().ioStatus).toBe("ok");
  await rig.until("BLOCK_JOB_READY");
  await end(rig, mirror);
});

test("S19.1, S19.2, D8: an error after READY clears 'actively synced' until the next clean instant, and READY is told once", async () => {
  const rig = await openRig({ size: SIZE });
  const guest = rig.guest();
  const mirror = await rig.mirror({ copyMode: "write-blocking", onTargetError: "ignore" });
  await rig.until("BLOCK_JOB_READY");
  await rig.clock.advance(200);
  expect(mirror.job.snapshot().details?.activelySynced).toBe(true);
  rig.targetFaults.add({ operation: "write", error: "EIO" });
  await rig.run(Promise.resolve(guest.write(0, [Buffer.alloc(64 * KIB, 4)])));
  expect(mirror.job.snapshot().details).toMatchObject({ activelySynced: false, dirtyBytes: 64 * KIB });
  await rig.clock.advance(2000);
  expect(mirror.job.snapshot().details).toMatchObject({ activelySynced: true, dirtyBytes: 0 });
  expect(rig.history().filter((word) => word === "BLOCK_JOB_READY")).toHaveLength(1);
  await end(rig, mirror);
});

test.each(["complete", "cancel"] as const)(
  "S19.3, D12: after an error in READY, %s still means what it meant",
  async (verb) => {
    const rig = await openRig({ size: SIZE });
    const guest = rig.guest();
    const mirror = await rig.mirror({ onTargetError: "ignore" });
    await rig.until("BLOCK_JOB_READY");
    rig.targetFaults.add({ operation: "write", error: "EIO" });
    await rig.run(Promise.resolve(guest.write(0, [Buffer.alloc(64 * KIB, 4)])));
    await rig.clock.advance(60);
    if (verb === "complete") await rig.run(mirror.job.complete());
    else mirror.job.cancel();
    expect(await rig.run(mirror.job.done)).toEqual({ outcome: "completed" });
    expect(mirror.switched).toBe(verb === "complete");
    expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  },
);

test("S20.1, S20.2: a pause is in force within 100 ms: copying, stopped on an error, or clean", async () => {
  const slow = await openRig({ size: 64 * MIB, latency: () => 10 });
  slow.fill("source", 0, 64 * MIB, 1);
  const copying = await slow.mirror({ bufferSize: 256 * KIB });
  await slow.clock.advance(333);
  copying.job.pause();
  await slow.clock.advance(120);
  expect(copying.job.status).toBe("paused");
  await end(slow, copying);

  const rig = await openRig({ size: SIZE });
  const clean = await rig.mirror();
  await rig.until("BLOCK_JOB_READY");
  await rig.clock.advance(1234);
  clean.job.pause();
  await rig.clock.advance(100);
  expect(clean.job.status).toBe("standby");
  await end(rig, clean);
});

test("S20.3: time is what the clock says: a job that slept long owes nothing", async () => {
  const rig = await openRig({ size: SIZE });
  rig.fill("source", 0, SIZE, 1);
  const mirror = await rig.mirror();
  mirror.job.pause();
  await rig.clock.advance(3_600_000);
  mirror.job.resume();
  const resumed = rig.clock.now();
  await rig.until("BLOCK_JOB_READY");
  expect(rig.clock.now() - resumed).toBeLessThan(200);
  await end(rig, mirror);
});

test("S21.1: speed 0 is no limit", async () => {
  const rig = await openRig({ size: 64 * MIB });
  rig.fill("source", 0, 64 * MIB, 1);
  const began = rig.clock.now();
  const mirror = await rig.mirror({ speed: 0 });
  await rig.until("BLOCK_JOB_READY");
  expect(rig.clock.now() - began).toBeLessThan(300);
  await end(rig, mirror);
});

test("S21.3, D4: bytes per second, however few", async () => {
  const rig = await openRig({ size: 64 * KIB });
  rig.fill("source", 0, 64 * KIB, 1);
  const mirror = await rig.mirror({ speed: 1000, granularity: 4 * KIB, bufferSize: 4 * KIB });
  await rig.until("BLOCK_JOB_READY");
  // The first operation is free of charge until it was made.
  expect(rig.clock.now() / 1000).toBeGreaterThanOrEqual(((64 - 4) * KIB) / 1000 - 1);
  expect(rig.clock.now() / 1000).toBeLessThanOrEqual((64 * KIB) / 1000 + 5);
  await end(rig, mirror);
});

test("S22.1, S22.3, D25: one flush before READY and one at the end; none while clean in between", async () => {
  const rig = await openRig({ size: SIZE });
  rig.fill("source", 0, SIZE, 1);
  const guest = rig.guest();
  const mirror = await rig.mirror();
  await rig.until("BLOCK_JOB_READY");
  const flushes = (): number => rig.targetFaults.log.filter(({ operation }) => operation === "flush").length;
  expect(flushes()).toBe(1);
  await rig.clock.advance(10_000);
  expect(flushes()).toBe(1);
  await rig.run(Promise.resolve(guest.write(0, [Buffer.alloc(512, 2)])));
  await rig.clock.advance(1000);
  expect(flushes()).toBe(1);
  await rig.run(mirror.job.complete());
  await rig.run(mirror.job.done);
  expect(flushes()).toBeLessThanOrEqual(3);
});

test("S22.2: a flush that fails delays READY until one succeeds", async () => {
  const rig = await openRig({ size: SIZE });
  rig.fill("source", 0, SIZE, 1);
  rig.targetFaults.add({ operation: "flush", times: 2, error: "EIO" });
  const mirror = await rig.mirror({ onTargetError: "ignore" });
  await rig.until("BLOCK_JOB_READY");
  expect(rig.targetFaults.log.filter(({ operation }) => operation === "flush")).toHaveLength(3);
  await end(rig, mirror);
});

test("S23.1, S23.2, D17: progress stays between 0 and its length, and only guests raise it after READY", async () => {
  const rig = await openRig({ size: 100 * 512 + 512, latency: () => 4 });
  rig.fill("source", 0, 101 * 512, 1);
  const guest = rig.guest();
  const mirror = await rig.mirror({ granularity: 64 * KIB });
  for (let step = 0; step < 20; step += 1) {
    const { offset, length } = mirror.job.snapshot();
    expect(offset).toBeGreaterThanOrEqual(0);
    expect(offset).toBeLessThanOrEqual(length);
    await rig.clock.advance(3);
  }
  await rig.until("BLOCK_JOB_READY");
  const { length } = mirror.job.snapshot();
  expect(mirror.job.snapshot().offset).toBe(length);
  await rig.run(Promise.resolve(guest.write(0, [Buffer.alloc(512, 3)])));
  await rig.clock.advance(500);
  expect(mirror.job.snapshot().length).toBeGreaterThan(length);
  expect(mirror.job.snapshot().offset).toBe(mirror.job.snapshot().length);
  await end(rig, mirror);
});

test("S24.2: whether to finish is decided at a clean instant after a flush that succeeded", async () => {
  const rig = await openRig({ size: SIZE, latency: () => 5 });
  const guest = rig.guest();
  const mirror = await rig.mirror({ onTargetError: "ignore" });
  await rig.until("BLOCK_JOB_READY");
  await rig.run(Promise.resolve(guest.write(0, [Buffer.alloc(MIB, 3)])));
  rig.targetFaults.add({ operation: "flush", times: 1, error: "EIO" });
  await rig.run(mirror.job.complete());
  expect(await rig.run(mirror.job.done)).toEqual({ outcome: "completed" });
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  const last = rig.targetFaults.log.findLast(({ operation }) => operation === "flush");
  expect(last?.outcome).toBe("passed");
});
