import { describe, expect, it } from "vitest";
import type { Mirror } from "../src/index.ts";
import { KIB, MIB, openRig, type Rig } from "./support/rig.ts";

/** A mirror in write-blocking mode that is READY and in step. */
async function synced(rig: Rig, options: Parameters<Rig["mirror"]>[0] = {}): Promise<Mirror> {
  const mirror = await rig.mirror({ copyMode: "write-blocking", ...options });
  await rig.until("BLOCK_JOB_READY");
  await rig.clock.advance(200);
  return mirror;
}

async function stop(rig: Rig, { job }: Mirror): Promise<void> {
  job.cancel({ force: true });
  await rig.run(job.done);
}

describe("write-blocking mode", () => {
  it("brings a write to both sides before the guest sees it settled", async () => {
    const rig = await openRig({ size: MIB });
    const guest = rig.guest();
    const mirror = await synced(rig);
    await guest.write(100, [Buffer.alloc(50, 7), Buffer.alloc(70_000, 8)]);
    await guest.writeZeroes(20_000, 30_000, { unmap: true });
    expect(rig.content("target").equals(rig.content("source"))).toBe(true);
    expect(mirror.job.snapshot().details).toMatchObject({
      copyMode: "write-blocking",
      activelySynced: true,
      dirtyBytes: 0,
      bytesMirrored: 50 + 70_000 + 30_000,
    });
    await stop(rig, mirror);
  });

  it("believes no hole of the target that a guest's write has filled since it was asked about", async () => {
    // Slow are the answers of target and source in the scan.
    const slow = new Set([2, 8]);
    let halves = 0;
    const rig = await openRig({ size: MIB, latency: () => (slow.has((halves += 1)) ? 20 : 0) });
    const guest = rig.guest();
    const { job } = await rig.mirror({ copyMode: "write-blocking" });
    await rig.clock.advance(1);
    void guest.write(0, [Buffer.alloc(64 * KIB, 5)]);
    await rig.clock.advance(24);
    // Between the scan and the copy, the source has a hole there again.
    void guest.discard(0, 64 * KIB);
    await rig.until("BLOCK_JOB_READY");
    await job.complete();
    await rig.run(job.done);
    expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  });

  it("is in step only from the first clean instant on", async () => {
    const rig = await openRig({ size: MIB });
    rig.fill("source", 0, MIB, 1);
    rig.guest();
    rig.targetFaults.add({ operation: "write", hold: true, times: 1 });
    const mirror = await rig.mirror({ copyMode: "write-blocking" });
    const held = await rig.run(rig.targetFaults.waitForHeld("write"));
    expect(mirror.job.snapshot().details?.activelySynced).toBe(false);
    held.release();
    await rig.until("BLOCK_JOB_READY");
    await rig.clock.advance(200);
    expect(mirror.job.snapshot().details?.activelySynced).toBe(true);
    await stop(rig, mirror);
  });

  it("is in step no longer as soon as the mode is changed to background", async () => {
    const rig = await openRig({ size: MIB });
    const guest = rig.guest();
    const mirror = await synced(rig);
    const inStep = (): boolean | undefined => mirror.job.snapshot().details?.activelySynced;
    expect(inStep()).toBe(true);
    await mirror.job.change({ copyMode: "background" });
    expect(inStep()).toBe(false);
    await guest.write(0, [Buffer.alloc(KIB, 1)]);
    await mirror.job.change({ copyMode: "write-blocking" });
    expect(inStep()).toBe(false);
    await rig.clock.advance(200);
    expect(inStep()).toBe(true);
    await stop(rig, mirror);
  });

  it("writes nothing to a target in somebody's drained section; the guest goes on, and the range is copied later", async () => {
    const rig = await openRig({ size: MIB });
    const guest = rig.guest();
    const mirror = await synced(rig);
    const section = await rig.run(rig.graph.drain(rig.target));
    await rig.run(Promise.resolve(guest.write(1000, [Buffer.alloc(70_000, 9)])));
    await rig.clock.advance(500);
    expect(rig.content("target")[1000]).toBe(0);
    expect(mirror.job.snapshot().details).toMatchObject({ activelySynced: false, dirtyBytes: 128 * KIB });
    section.end();
    await rig.clock.advance(500);
    expect(rig.content("target").equals(rig.content("source"))).toBe(true);
    expect(mirror.job.snapshot().details).toMatchObject({ activelySynced: true, dirtyBytes: 0 });
    await stop(rig, mirror);
  });

  it("never fails a guest because the target did; the range is copied later", async () => {
    const rig = await openRig({ size: MIB });
    const guest = rig.guest();
    const mirror = await synced(rig, { onTargetError: "ignore" });
    rig.targetFaults.add({ operation: "write", error: "EIO", times: 1, transferred: 100 });
    await guest.write(1000, [Buffer.alloc(5000, 9)]);
    expect(mirror.job.snapshot().details).toMatchObject({ activelySynced: false, dirtyBytes: 64 * KIB });
    await rig.clock.advance(5000);
    expect(rig.content("target").equals(rig.content("source"))).toBe(true);
    expect(mirror.job.snapshot().details).toMatchObject({ activelySynced: true, dirtyBytes: 0 });
    await stop(rig, mirror);
  });

  it("with report as policy a failing target ends the job, and the guest goes on with the source", async () => {
    const rig = await openRig({ size: MIB });
    const guest = rig.guest();
    const mirror = await synced(rig);
    rig.targetFaults.add({ operation: "write", error: "EIO", times: 1 });
    await guest.write(0, [Buffer.alloc(100, 9)]);
    expect(await rig.run(mirror.job.done)).toMatchObject({ outcome: "failed" });
    await guest.write(0, [Buffer.alloc(100, 10)]);
    expect(rig.content("source")[0]).toBe(10);
  });

  it("a source that fails leaves the target alone, and the guest is told", async () => {
    const rig = await openRig({ size: MIB });
    const guest = rig.guest();
    const mirror = await synced(rig);
    rig.sourceFaults.add({ operation: "write", error: "EIO", times: 1 });
    await expect(async () => guest.write(0, [Buffer.alloc(100, 9)])).rejects.toMatchObject({ code: "EIO" });
    expect(rig.content("target")[0]).toBe(0);
    await rig.clock.advance(500);
    expect(mirror.job.snapshot().details?.dirtyBytes).toBe(0);
    await stop(rig, mirror);
  });

  it("waits for an operation that copies the same chunk, and the other way round", async () => {
    const rig = await openRig({ size: MIB });
    rig.fill("source", 0, 64 * KIB, 1);
    const guest = rig.guest();
    rig.targetFaults.add({ operation: "write", hold: true, times: 1 });
    const mirror = await rig.mirror({ copyMode: "write-blocking" });
    const copy = await rig.run(rig.targetFaults.waitForHeld("write"));
    const write = Promise.resolve(guest.write(10, [Buffer.alloc(10, 2)]));
    await rig.clock.advance(50);
    expect(rig.content("source")[10]).toBe(1);
    copy.release();
    await rig.run(write);
    await rig.until("BLOCK_JOB_READY");
    expect(rig.content("target").equals(rig.content("source"))).toBe(true);
    expect(rig.content("target")[10]).toBe(2);
    await stop(rig, mirror);
  });

  it("two overlapping writes do not wait for each other for ever (deadlock rule)", async () => {
    const rig = await openRig({ size: MIB, latency: () => 1 });
    const guest = rig.guest();
    const mirror = await synced(rig);
    const writes = [0, 1, 2, 3, 4, 5, 6, 7].map((index) =>
      Promise.resolve(guest.write(index * 30_000, [Buffer.alloc(100_000, index + 1)])),
    );
    await rig.run(Promise.all(writes));
    expect(rig.content("target").equals(rig.content("source"))).toBe(true);
    await stop(rig, mirror);
  });

  it("a zero request that covers no chunk in full works (upstream 4a7b1bd18d)", async () => {
    const rig = await openRig({ size: MIB });
    rig.fill("source", 0, MIB, 5);
    const guest = rig.guest();
    const mirror = await synced(rig);
    await guest.writeZeroes(70_000, 100, {});
    await guest.writeZeroes(65_536 * 2 - 10, 20, { unmap: true });
    expect(rig.content("target").equals(rig.content("source"))).toBe(true);
    await stop(rig, mirror);
  });

  it("a stale answer about the source never overwrites what a guest wrote to both sides", async () => {
    const rig = await openRig({ size: 8 * MIB });
    rig.fill("source", 0, 64 * KIB, 1);
    rig.fill("target", 0, 8 * MIB, 0xee);
    const guest = rig.guest();
    // With room for one chunk, the holes behind the first one wait with what was learnt about them.
    rig.targetFaults.add({ operation: "write", hold: true, times: 1 });
    const mirror = await rig.mirror({
      copyMode: "write-blocking",
      granularity: 64 * KIB,
      bufferSize: 64 * KIB,
    });
    const copy = await rig.run(rig.targetFaults.waitForHeld("write"));
    await guest.write(5 * MIB + 10, [Buffer.alloc(100, 3)]);
    copy.release();
    await rig.until("BLOCK_JOB_READY");
    expect(rig.content("target").equals(rig.content("source"))).toBe(true);
    await stop(rig, mirror);
  });
});

describe("changing the mode", () => {
  it("takes effect for requests that begin afterwards, both ways", async () => {
    const rig = await openRig({ size: MIB });
    const guest = rig.guest();
    const { job } = await rig.mirror();
    await rig.until("BLOCK_JOB_READY");
    rig.targetFaults.add({ operation: "write", hold: true, times: 1 });
    await guest.write(0, [Buffer.alloc(10, 1)]);
    expect(job.snapshot().details?.activelySynced).toBe(false);
    const copy = await rig.run(rig.targetFaults.waitForHeld("write"));
    await job.change({ copyMode: "write-blocking" });
    copy.release();
    await rig.clock.advance(300);
    expect(job.snapshot().details).toMatchObject({ copyMode: "write-blocking", activelySynced: true });
    await job.change({ copyMode: "background" });
    await guest.write(500_000, [Buffer.alloc(10, 1)]);
    expect(job.snapshot().details).toMatchObject({ copyMode: "background", activelySynced: false });
    job.cancel({ force: true });
    await rig.run(job.done);
  });

  it("refuses what it does not know, and changes nothing", async () => {
    const rig = await openRig({ size: MIB });
    const { job } = await rig.mirror();
    await expect(job.change({ copyMode: "sideways" })).rejects.toMatchObject({ code: "EINVAL" });
    await expect(job.change({ copyMode: "background", speed: 3 })).rejects.toMatchObject({ code: "EINVAL" });
    expect(job.snapshot().details?.copyMode).toBe("background");
    job.cancel({ force: true });
    await rig.run(job.done);
  });
});

it("automatic mode lets guests go when the job is READY, and ends beside them when it is told to", async () => {
  const rig = await openRig({ size: 4 * MIB, latency: () => 2 });
  const guest = rig.guest();
  const { job } = await rig.mirror({ copyMode: "auto", speed: 8 * MIB });
  const written = rig.content("source");
  const stop = new AbortController();
  const writer = (async () => {
    for (let count = 0; !stop.signal.aborted; count += 1) {
      const offset = (count % 4) * MIB;
      const data = Buffer.alloc(MIB, 1 + (count % 250));
      await guest.write(offset, [data]);
      data.copy(written, offset);
    }
  })();
  const modes = new Set<string>();
  const advanceUntil = async (isDone: () => boolean): Promise<void> => {
    for (let step = 0; step < 400 && !isDone(); step += 1) {
      modes.add(job.snapshot().details?.copyMode ?? "");
      await rig.clock.advance(100);
    }
    expect(isDone()).toBe(true);
  };
  await advanceUntil(() => job.status === "ready");
  expect(modes).toContain("write-blocking");
  modes.clear();
  for (let step = 0; step < 50; step += 1) {
    await rig.clock.advance(100);
    modes.add(job.snapshot().details?.copyMode ?? "");
  }
  expect([...modes]).toEqual(["background"]);
  expect(job.snapshot().details?.copyModeIsAutomatic).toBe(true);
  await rig.run(job.complete());
  await advanceUntil(() => job.status === "concluded");
  expect(job.snapshot().error).toBeUndefined();
  stop.abort();
  await rig.run(writer);
  expect(rig.content("target").equals(written)).toBe(true);
  expect(rig.content("source").equals(written), "the guest has been led to the target").toBe(false);
});

it("automatic mode holds guests back when the job cannot keep up, and lets them go again", async () => {
  const rig = await openRig({ size: 4 * MIB, latency: () => 2 });
  rig.fill("source", 0, 4 * MIB, 1);
  const guest = rig.guest();
  const { job } = await rig.mirror({ copyMode: "auto", speed: MIB, switchPauseMs: 0 });
  const guestDone = new AbortController();
  let value = 0;
  const writer = (async () => {
    while (!guestDone.signal.aborted) {
      value = (value % 250) + 1;
      await guest.write((value % 4) * MIB, [Buffer.alloc(MIB, value)]);
      await new Promise<void>((resolve) => {
        rig.clock.schedule(5, resolve);
      });
    }
  })();
  const modes = new Set<string>();
  for (let step = 0; step < 400 && job.status !== "ready"; step += 1) {
    await rig.clock.advance(100);
    modes.add(job.snapshot().details?.copyMode ?? "");
  }
  expect([...modes]).toEqual(["background", "write-blocking"]);
  expect(job.status).toBe("ready");
  guestDone.abort();
  await rig.run(writer);
  for (let step = 0; step < 300 && job.snapshot().details?.copyMode !== "background"; step += 1) {
    await rig.clock.advance(100);
  }
  expect(job.snapshot().details).toMatchObject({ copyMode: "background", copyModeIsAutomatic: true });
  job.cancel({ force: true });
  await rig.run(job.done);
});
