import { expect, it } from "vitest";
import { KIB, MIB, openRig } from "./support/rig.ts";

it("copies a write that lands while the scan waits for its first answer (S2.6)", async () => {
  const rig = await openRig({ size: 8 * MIB });
  const guest = rig.guest();
  // The question is held, so its answer knows of the write; rows/races.test.ts has the write that comes after the answer.
  rig.sourceFaults.add({ operation: "status", hold: true });
  const { job } = await rig.mirror();
  const query = await rig.run(rig.sourceFaults.waitForHeld("status"));
  await guest.write(5 * MIB, [Buffer.alloc(1000, 0x77)]);
  rig.sourceFaults.clear();
  query.release();
  await rig.until("BLOCK_JOB_READY");
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  job.cancel({ force: true });
  await rig.run(job.done);
});

it("copies a chunk again that is written between its read and its write (S14.1)", async () => {
  const rig = await openRig({ size: MIB });
  rig.fill("source", 0, 64 * KIB, 1);
  const guest = rig.guest();
  rig.targetFaults.add({ operation: "write", hold: true });
  const { job } = await rig.mirror();
  const write = await rig.run(rig.targetFaults.waitForHeld("write"));
  await guest.write(10, [Buffer.alloc(10, 2)]);
  write.release();
  await rig.until("BLOCK_JOB_READY");
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  expect(job.snapshot().details?.bytesRecopied).toBe(64 * KIB);
  job.cancel({ force: true });
  await rig.run(job.done);
});

it("never runs two operations on one chunk (S8.3)", async () => {
  const rig = await openRig({ size: MIB });
  rig.fill("source", 0, 64 * KIB, 1);
  const guest = rig.guest();
  rig.targetFaults.add({ operation: "write", hold: true });
  const { job } = await rig.mirror();
  const write = await rig.run(rig.targetFaults.waitForHeld("write"));
  await guest.write(10, [Buffer.alloc(10, 2)]);
  // The chunk is dirty and in flight; another is only dirty.
  await guest.write(512 * KIB, [Buffer.alloc(10, 3)]);
  await rig.clock.advance(1000);
  const reads = rig.sourceFaults.log
    .filter((entry) => entry.operation === "read")
    .map((entry) => entry.offset);
  expect(reads).toEqual([0, 512 * KIB]);
  write.release();
  await rig.until("BLOCK_JOB_READY");
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  job.cancel({ force: true });
  await rig.run(job.done);
});

it("carries zeroes and discards over, and follows each kind of write after READY (S24.1)", async () => {
  const rig = await openRig({ size: 4 * MIB });
  rig.fill("source", 0, 4 * MIB, 0xaa);
  const guest = rig.guest();
  const { job } = await rig.mirror();
  await rig.until("BLOCK_JOB_READY");
  const changes: (() => void | Promise<void>)[] = [
    () => guest.write(MIB + 3, [Buffer.alloc(70_000, 1)]),
    () => guest.writeZeroes(2 * MIB + 11, 200_000, { unmap: true }),
    () => guest.discard(3 * MIB, 256 * KIB),
  ];
  for (const change of changes) {
    await change();
    await rig.clock.advance(300);
    expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  }
  expect(rig.memory("target").allocatedBytes).toBeLessThan(4 * MIB);
  job.cancel({ force: true });
  await rig.run(job.done);
});

it("copies without status when every query fails, rather than failing (hints are not data)", async () => {
  const rig = await openRig({ size: 2 * MIB });
  rig.fill("source", 0, 2 * MIB, 4);
  const { job } = await rig.mirror();
  // The scan has passed; from now on the source cannot say anything.
  await rig.until("BLOCK_JOB_READY");
  rig.sourceFaults.add({ operation: "status", error: "EIO", times: 0 });
  await rig.run(job.complete());
  expect((await rig.run(job.done)).outcome).toBe("completed");
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
});

it("fails when the scan cannot learn what is allocated (S11.3)", async () => {
  const rig = await openRig({ size: 2 * MIB });
  rig.sourceFaults.add({ operation: "status", error: "EIO", times: 0 });
  const { job } = await rig.mirror();
  expect(await rig.run(job.done)).toMatchObject({ outcome: "failed", error: { code: "EIO" } });
});

it("shows the disk in cells: copied, dirty, in flight, failed", async () => {
  const rig = await openRig({ size: 4 * MIB });
  rig.fill("source", 0, 4 * MIB, 1);
  rig.sourceFaults.add({ operation: "read", hold: true, times: 0 });
  const mirror = await rig.mirror({ bufferSize: MIB });
  await rig.clock.advance(200);
  const map = mirror.map(4);
  expect([...map.inFlight]).toEqual([1, 0, 0, 0]);
  expect([...map.dirty]).toEqual([0, 1, 1, 1]);
  expect([...map.copied]).toEqual([0, 0, 0, 0]);
  rig.sourceFaults.clear();
  rig.sourceFaults.release();
  await rig.until("BLOCK_JOB_READY");
  expect([...mirror.map(4, map).copied]).toEqual([1, 1, 1, 1]);
  expect([...mirror.map(3).copied]).toEqual([1, 1, 1]);
  mirror.job.cancel({ force: true });
  await rig.run(mirror.job.done);
});
