import { expect, it } from "vitest";
import { KIB, MIB, openRig } from "./support/rig.ts";

it.each([
  ["read", "sourceFaults", "read"],
  ["write", "targetFaults", "write"],
] as const)(
  "ends the job with a %s error under the policy report (S17.1, S17.2)",
  async (operation, side, direction) => {
    const rig = await openRig({ size: 4 * MIB });
    rig.fill("source", 0, 4 * MIB, 1);
    rig[side].add({ operation, nth: 2, error: "EIO" });
    const { job } = await rig.mirror();
    expect(await rig.run(job.done)).toMatchObject({ outcome: "failed", error: { code: "EIO" } });
    const event = rig.events.find((entry) => entry.event === "BLOCK_JOB_ERROR");
    expect(event?.data).toMatchObject({ operation: direction, action: "report" });
    // The source is free and whole.
    const guest = rig.guest();
    await guest.write(0, [Buffer.alloc(512, 9)]);
    expect(rig.content("source")[0]).toBe(9);
  },
);

it("keeps the first error when several happen (S17.2)", async () => {
  const rig = await openRig({ size: 4 * MIB });
  rig.fill("source", 0, 4 * MIB, 1);
  rig.targetFaults.add({ operation: "write", error: "ENOSPC" });
  rig.targetFaults.add({ operation: "write", error: "EIO", times: 0 });
  const { job } = await rig.mirror();
  expect(await rig.run(job.done)).toMatchObject({ outcome: "failed", error: { code: "ENOSPC" } });
});

it("does not wait for the speed limit to tell of an error (S17.2)", async () => {
  const rig = await openRig({ size: 4 * MIB, latency: () => 5 });
  rig.fill("source", 0, 4 * MIB, 1);
  rig.targetFaults.add({ operation: "write", error: "EIO" });
  const { job } = await rig.mirror({ speed: 16 * KIB });
  expect(await rig.run(job.done, 100)).toMatchObject({ outcome: "failed", error: { code: "EIO" } });
});

it("goes on under the policy ignore, retries what failed, and does not spin (S17.3)", async () => {
  const rig = await openRig({ size: MIB });
  rig.fill("source", 0, MIB, 1);
  rig.targetFaults.add({ operation: "write", error: "EIO", times: 6 });
  const { job } = await rig.mirror({ onTargetError: "ignore" });
  await rig.until("BLOCK_JOB_READY");
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  const errors = rig.events.filter((event) => event.event === "BLOCK_JOB_ERROR");
  expect(errors.length).toBe(6);
  // 100 + 200 + 400 + 800 + 1600 + 3200 ms of back-off.
  expect(rig.clock.now()).toBeGreaterThanOrEqual(6300);
  job.cancel({ force: true });
  await rig.run(job.done);
});

it("does not let what is sound wait long for what fails in places, under the policy ignore (S17.3)", async () => {
  const rig = await openRig({ size: 8 * MIB, latency: () => 5 });
  rig.fill("source", 0, 8 * MIB, 1);
  // Every third write fails, for a while.
  for (let nth = 3; nth <= 24; nth += 3) rig.targetFaults.add({ operation: "write", nth, error: "EIO" });
  const { job } = await rig.mirror({ onTargetError: "ignore", bufferSize: 256 * KIB });
  await rig.until("BLOCK_JOB_READY");
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  const errors = rig.events.filter((event) => event.event === "BLOCK_JOB_ERROR");
  expect(errors.length).toBe(8);
  // Eight waits of 100 ms, if that many, and the copying; doubled each time they would be 25 s.
  expect(rig.clock.now()).toBeLessThan(2000);
  job.cancel({ force: true });
  await rig.run(job.done);
});

it("stops on an error, submits nothing meanwhile, and retries after resume (S17.4, S18)", async () => {
  const rig = await openRig({ size: MIB });
  rig.fill("source", 0, MIB, 1);
  rig.targetFaults.add({ operation: "write", error: "EIO" });
  const { job } = await rig.mirror({ onTargetError: "stop" });
  await rig.clock.advance(500);
  expect(job.status).toBe("paused");
  expect(job.snapshot().ioStatus).toBe("failed");
  const requests = rig.targetFaults.log.length;
  await rig.clock.advance(5000);
  expect(rig.targetFaults.log.length).toBe(requests);
  job.resume();
  expect(job.snapshot().ioStatus).toBe("ok");
  await rig.until("BLOCK_JOB_READY");
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  job.cancel({ force: true });
  await rig.run(job.done);
});

it("stops only for a full target under the policy enospc (S17.5)", async () => {
  const full = await openRig({ size: MIB });
  full.fill("source", 0, MIB, 1);
  full.targetFaults.add({ operation: "write", error: "ENOSPC", transferred: 4096 });
  const { job } = await full.mirror({ onTargetError: "enospc" });
  await full.clock.advance(500);
  expect(job.status).toBe("paused");
  expect(job.snapshot().ioStatus).toBe("nospace");
  job.resume();
  await full.until("BLOCK_JOB_READY");
  expect(full.content("target").equals(full.content("source"))).toBe(true);
  job.cancel({ force: true });
  await full.run(job.done);

  const broken = await openRig({ size: MIB });
  broken.fill("source", 0, MIB, 1);
  broken.targetFaults.add({ operation: "write", error: "EIO" });
  const other = await broken.mirror({ onTargetError: "enospc" });
  expect((await broken.run(other.job.done)).outcome).toBe("failed");
});

it("marks the whole run dirty again, also when a part of it was written (S16.1)", async () => {
  const rig = await openRig({ size: 4 * MIB });
  rig.fill("source", 0, 4 * MIB, 1);
  rig.fill("target", 0, 4 * MIB, 0xee);
  rig.targetFaults.add({ operation: "write", error: "EIO", transferred: 100 * KIB });
  const mirror = await rig.mirror({ onTargetError: "stop", bufferSize: MIB });
  await rig.clock.advance(500);
  expect(mirror.job.snapshot().details?.dirtyBytes).toBe(4 * MIB);
  expect([...mirror.map(4).failed]).toEqual([1, 0, 0, 0]);
  mirror.job.resume();
  await rig.until("BLOCK_JOB_READY");
  expect([...mirror.map(4).failed]).toEqual([0, 0, 0, 0]);
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  mirror.job.cancel({ force: true });
  await rig.run(mirror.job.done);
});

it("treats a failed flush before READY by the target's policy (S22.2)", async () => {
  const rig = await openRig({ size: MIB });
  // The memory device has nothing to flush, so the filter's own rule is what fails; give the target a flush first.
  rig.fill("source", 0, MIB, 1);
  rig.targetFaults.add({ operation: "flush", error: "EIO" });
  const { job } = await rig.mirror({ onTargetError: "stop" });
  await rig.clock.advance(500);
  if (job.status === "ready") throw new Error("READY without a flush of the target");
  expect(job.status).toBe("paused");
  job.resume();
  await rig.until("BLOCK_JOB_READY");
  job.cancel({ force: true });
  await rig.run(job.done);
});

it("survives an error after READY: the job stays READY, and complete is still accepted (S19, D8, D12)", async () => {
  const rig = await openRig({ size: MIB });
  const guest = rig.guest();
  const { job } = await rig.mirror({ onTargetError: "stop" });
  await rig.until("BLOCK_JOB_READY");
  rig.targetFaults.add({ operation: "write", error: "EIO" });
  await guest.write(0, [Buffer.alloc(512, 5)]);
  await rig.clock.advance(500);
  expect(job.status).toBe("standby");
  job.resume();
  await rig.clock.advance(500);
  expect(job.status).toBe("ready");
  await rig.run(job.complete());
  expect((await rig.run(job.done)).outcome).toBe("completed");
  expect(rig.history().filter((name) => name === "BLOCK_JOB_READY").length).toBe(1);
  expect(rig.content("target")[0]).toBe(5);
});

it("ends in every case, whichever request of the target fails (fault at every index)", async () => {
  let failures = 0;
  for (let nth = 1; nth < 40; nth += 1) {
    const rig = await openRig({ size: 2 * MIB });
    rig.fill("source", 0, MIB, 1);
    rig.fill("target", MIB, MIB, 0xee);
    rig.targetFaults.add({ nth, error: "EIO" });
    const { job } = await rig.mirror({ bufferSize: 256 * KIB });
    const finished = rig.run(job.done);
    void rig.until("BLOCK_JOB_READY").then(
      () => job.complete().catch(() => {}),
      () => {},
    );
    const { outcome } = await finished;
    if (outcome === "completed") expect(rig.content("target").equals(rig.content("source"))).toBe(true);
    else failures += 1;
    expect(job.snapshot().details?.inFlightOperations).toBe(0);
    expect(rig.source.parents.size + rig.target.parents.size).toBe(0);
    await rig.graph.closeAll();
  }
  expect(failures).toBeGreaterThan(3);
});
