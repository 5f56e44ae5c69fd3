import { expect, it } from "vitest";
import { KIB, MIB, openRig } from "./support/rig.ts";

it("copies data, skips holes, and completes with the target equal to the source (S2.1, S22, S28)", async () => {
  const rig = await openRig({ size: 32 * MIB });
  rig.fill("source", 3 * MIB, 2 * MIB, 0x11);
  rig.fill("source", 20 * MIB + 100, 5000, 0x22);
  const { job } = await rig.mirror();
  await rig.until("BLOCK_JOB_READY");
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  await rig.run(job.complete());
  expect(await rig.run(job.done)).toEqual({ outcome: "completed" });
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  const details = job.snapshot().details;
  expect(details?.bytesCopied).toBe(2 * MIB + 64 * KIB);
  expect(details?.bytesSkipped).toBe(30 * MIB - 64 * KIB);
  expect(rig.memory("target").allocatedBytes).toBeLessThanOrEqual(2 * MIB + 64 * KIB);
});

it("goes through the states and events in the order of QEMU", async () => {
  const rig = await openRig({ size: MIB });
  rig.fill("source", 0, MIB, 1);
  const { job } = await rig.mirror({ autoDismiss: true });
  await rig.until("BLOCK_JOB_READY");
  await rig.run(job.complete());
  await rig.run(job.done);
  expect(rig.history()).toEqual([
    "created",
    "running",
    "ready",
    "BLOCK_JOB_READY",
    "waiting",
    "pending",
    "BLOCK_JOB_COMPLETED",
    "concluded",
    "null",
  ]);
});

it("makes stale content of the target read as zeroes where the source has a hole (S2.2, D15)", async () => {
  const rig = await openRig({ size: 8 * MIB });
  rig.fill("source", 0, MIB, 1);
  rig.fill("target", 0, 8 * MIB, 0xee);
  const { job } = await rig.mirror();
  await rig.until("BLOCK_JOB_READY");
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  expect(job.snapshot().details?.bytesZeroed).toBe(7 * MIB);
  // The space is given back as well: the target is as thin as the source.
  expect(rig.memory("target").allocatedBytes).toBe(MIB);
  job.cancel({ force: true });
  await rig.run(job.done);
});

it.each([1, 511, 512, 513, 64 * KIB - 1, 64 * KIB + 1, 3 * MIB + 777])(
  "copies an image of %i bytes to its exact length and releases the tail (S13.3, S33.3, D2, D3)",
  async (size) => {
    const rig = await openRig({ size });
    rig.fill("source", 0, size, 0x5a);
    const guest = rig.guest();
    const { job } = await rig.mirror();
    await rig.until("BLOCK_JOB_READY");
    expect(rig.content("target").equals(rig.content("source"))).toBe(true);
    // The tail chunk can be dirtied and copied again: its in-flight bit was released.
    for (const value of [1, 2, 3]) {
      await guest.write(size - 1, [Buffer.of(value)]);
      await rig.clock.advance(500);
      expect(rig.content("target")[size - 1]).toBe(value);
    }
    expect(job.snapshot().details?.dirtyBytes).toBe(0);
    expect(job.snapshot().details?.inFlightOperations).toBe(0);
    await rig.run(job.complete());
    expect((await rig.run(job.done)).outcome).toBe("completed");
  },
);

it("is READY at once for an empty image, and waits for complete (S33.1, D5)", async () => {
  const rig = await openRig({ size: 0 });
  const { job } = await rig.mirror();
  await rig.until("BLOCK_JOB_READY");
  await rig.clock.advance(1000);
  expect(job.status).toBe("ready");
  await rig.run(job.complete());
  expect((await rig.run(job.done)).outcome).toBe("completed");
});

it("copies only what is written after the start with sync none (S2.5)", async () => {
  const rig = await openRig({ size: 4 * MIB });
  rig.fill("source", 0, 4 * MIB, 7);
  const guest = rig.guest();
  const { job } = await rig.mirror({ sync: "none" });
  await rig.until("BLOCK_JOB_READY");
  await guest.write(2 * MIB + 5, [Buffer.alloc(10, 9)]);
  await rig.run(job.complete());
  await rig.run(job.done);
  const target = rig.content("target");
  const chunk = target.subarray(2 * MIB, 2 * MIB + 64 * KIB);
  expect(chunk.equals(rig.content("source").subarray(2 * MIB, 2 * MIB + 64 * KIB))).toBe(true);
  expect(target.subarray(0, 2 * MIB).every((byte) => byte === 0)).toBe(true);
});

it("moves large contiguous runs in few operations of at most 1 MiB with the default buffer (S13.1)", async () => {
  const rig = await openRig({ size: 16 * MIB });
  rig.fill("source", 0, 16 * MIB, 3);
  const { job } = await rig.mirror();
  await rig.until("BLOCK_JOB_READY");
  const writes = rig.targetFaults.log.filter((entry) => entry.operation === "write");
  expect(writes.length).toBe(16);
  expect(Math.max(...writes.map((entry) => entry.length))).toBe(MIB);
  job.cancel({ force: true });
  await rig.run(job.done);
});

it("runs at most 16 operations and uses no more than its buffer (S7.1, S6.5)", async () => {
  const rig = await openRig({ size: 64 * MIB, latency: () => 5 });
  rig.fill("source", 0, 64 * MIB, 3);
  rig.sourceFaults.add({ operation: "read", hold: true, times: 0 });
  const { job } = await rig.mirror({ bufferSize: 4 * MIB });
  await rig.clock.advance(300);
  const held = rig.sourceFaults.held;
  expect(held.length).toBeLessThanOrEqual(16);
  expect(held.reduce((sum, request) => sum + request.length, 0)).toBeLessThanOrEqual(4 * MIB);
  rig.sourceFaults.clear();
  rig.sourceFaults.release();
  await rig.until("BLOCK_JOB_READY");
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  job.cancel({ force: true });
  await rig.run(job.done);
});

it("works with a buffer that is no multiple of the granularity (S6.2, D11)", async () => {
  const rig = await openRig({ size: 5 * MIB });
  rig.fill("source", 0, 5 * MIB, 3);
  const { job } = await rig.mirror({ bufferSize: 100_001, granularity: 64 * KIB });
  await rig.until("BLOCK_JOB_READY");
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  job.cancel({ force: true });
  await rig.run(job.done);
});

it("keeps the target sparse where the source cannot tell holes from data", async () => {
  const rig = await openRig({ size: 8 * MIB });
  // Stored zeroes: the source calls them data.
  rig.fill("source", 0, 8 * MIB, 0);
  rig.fill("source", MIB, 100, 1);
  const { job } = await rig.mirror({ detectZeroes: true });
  await rig.until("BLOCK_JOB_READY");
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  expect(rig.memory("target").allocatedBytes).toBeLessThanOrEqual(MIB);
  job.cancel({ force: true });
  await rig.run(job.done);
});
