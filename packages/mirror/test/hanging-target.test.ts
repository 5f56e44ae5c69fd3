import type { BlockEdge } from "@blockmirror/block-driver";
import { describe, expect, test } from "vitest";
import type { Mirror } from "../src/index.ts";
import { KIB, MIB, openRig, type Rig } from "./support/rig.ts";

const SIZE = 4 * MIB;

/** Whether a guest's write comes back within two seconds. */
async function guestGetsThrough(rig: Rig, write: () => void | Promise<void>): Promise<boolean> {
  let done = false;
  void Promise.resolve(write()).then(() => (done = true));
  await rig.clock.advance(2000);
  return done;
}

function silence(job: Mirror["job"]): unknown {
  const { unansweredMs, unansweredBy } = job.snapshot().details ?? {};
  return { unansweredMs, unansweredBy };
}

interface Ready {
  readonly rig: Rig;
  readonly guest: BlockEdge;
  readonly mirror: Mirror;
}

/** Brings a job to where guests are held, the last of what they wrote is copied, and `operation` hangs. */
async function heldBy(operation: "write" | "flush"): Promise<Ready> {
  const rig = await openRig({ size: SIZE });
  // Copied quickly, so that the little that a guest writes later is what may be copied while it is held.
  rig.fill("source", 0, SIZE, 9);
  const guest = rig.guest();
  const mirror = await rig.mirror();
  await rig.until("BLOCK_JOB_READY");
  await rig.run(Promise.resolve(guest.write(0, [Buffer.alloc(KIB, 1)])));
  await rig.clock.advance(500);
  // Guests are not held yet while the first flush takes its time; what one writes then is left for when they are.
  rig.targetFaults.add({ operation: "flush", nth: 1, delayMs: 100 });
  rig.targetFaults.add({ operation, hold: true });
  await mirror.job.complete();
  await rig.clock.advance(20);
  await rig.run(Promise.resolve(guest.write(128 * KIB, [Buffer.alloc(KIB, 1)])));
  for (let step = 0; step < 200 && rig.targetFaults.held.length === 0; step += 1) await rig.clock.advance(1);
  expect(rig.targetFaults.held).toHaveLength(1);
  let through = false;
  void Promise.resolve(guest.read(0, [Buffer.alloc(512)])).then(() => (through = true));
  await rig.clock.advance(1);
  expect(through, "guests are held").toBe(false);
  return { rig, guest, mirror };
}

describe("a target that hangs when the guests are held for the switch", () => {
  test.each(["write", "flush"] as const)(
    "does not hold them: a %s that never comes back lets them go on, and the job ends when it does",
    async (operation) => {
      const { rig, guest, mirror } = await heldBy(operation);
      expect(await guestGetsThrough(rig, () => guest.write(MIB, [Buffer.alloc(KIB, 2)]))).toBe(true);
      expect(mirror.switched).toBe(false);
      rig.targetFaults.release();
      expect(await rig.run(mirror.job.done)).toEqual({ outcome: "completed" });
      expect(mirror.switched).toBe(true);
      expect(rig.content("target").equals(rig.content("source"))).toBe(true);
    },
  );

  test("a flush that was given up is waited for: nobody is led to what is not durable", async () => {
    const { rig, guest, mirror } = await heldBy("flush");
    await rig.clock.advance(5000);
    expect(mirror.switched).toBe(false);
    expect(guest.node).not.toBe(rig.target);
    expect(mirror.job.snapshot().status).not.toBe("concluded");
    rig.targetFaults.release();
    expect(await rig.run(mirror.job.done)).toEqual({ outcome: "completed" });
    expect(mirror.switched).toBe(true);
  });

  test("a flush that was given up and fails at last is heard of, though a later one would have succeeded", async () => {
    const rig = await openRig({ size: SIZE });
    rig.fill("source", 0, SIZE, 9);
    const guest = rig.guest();
    const { job } = await rig.mirror({ copyMode: "write-blocking" });
    await rig.until("BLOCK_JOB_READY");
    await rig.run(Promise.resolve(guest.write(0, [Buffer.alloc(KIB, 1)])));
    rig.targetFaults.add({ operation: "flush", nth: 1, delayMs: 100 });
    rig.targetFaults.add({ operation: "flush", hold: true, error: "EIO" });
    await job.complete();
    await rig.clock.advance(20);
    await rig.run(Promise.resolve(guest.write(0, [Buffer.alloc(KIB, 2)])));
    for (let step = 0; step < 200 && rig.targetFaults.held.length === 0; step += 1)
      await rig.clock.advance(1);
    // It waits with all guests, and goes to both sides as soon as they go on.
    expect(await guestGetsThrough(rig, () => guest.write(0, [Buffer.alloc(KIB, 3)]))).toBe(true);
    await rig.clock.advance(5000);
    expect(job.status).toBe("ready");
    rig.targetFaults.release();
    expect(await rig.run(job.done)).toMatchObject({ outcome: "failed", error: { code: "EIO" } });
    expect(guest.node).toBe(rig.source);
  });

  test.each(["write", "flush"] as const)(
    "a force cancel frees the guests at once during a %s, with the source untouched",
    async (operation) => {
      const { rig, guest, mirror } = await heldBy(operation);
      mirror.job.cancel({ force: true });
      let done = false;
      void Promise.resolve(guest.write(MIB, [Buffer.alloc(KIB, 2)])).then(() => (done = true));
      await rig.clock.advance(50);
      expect(done).toBe(true);
      rig.targetFaults.release();
      expect(await rig.run(mirror.job.done)).toEqual({ outcome: "cancelled" });
      expect(guest.node).toBe(rig.source);
      expect(rig.content("source")[MIB]).toBe(2);
    },
  );
});

test.each(["background", "write-blocking"] as const)(
  "a target that flushes slowly does not keep a job from ending beside a busy guest (%s)",
  async (copyMode) => {
    const rig = await openRig({ size: SIZE, latency: () => 1 });
    rig.fill("source", 0, SIZE, 1);
    const guest = rig.guest();
    const { job } = await rig.mirror({ copyMode });
    rig.targetFaults.add({ operation: "flush", delayMs: 1200, times: 0 });
    const state = { isOver: false, longestMs: 0 };
    const write = async (): Promise<void> => {
      for (let count = 0; !state.isOver; count += 1) {
        const sinceMs = rig.clock.now();
        await guest.write((count % 64) * 64 * KIB, [Buffer.alloc(KIB, count % 250)]);
        state.longestMs = Math.max(state.longestMs, rig.clock.now() - sinceMs);
        await new Promise<void>((resolve) => void rig.clock.schedule(3, resolve));
      }
    };
    const writing = write();
    await rig.until("BLOCK_JOB_READY");
    await job.complete();
    expect(await rig.run(job.done, 20_000)).toEqual({ outcome: "completed" });
    state.isOver = true;
    await rig.run(writing);
    expect(state.longestMs).toBeLessThan(2000);
    expect(guest.node).toBe(rig.target);
    await rig.graph.closeAll();
  },
);

test("a target that hangs while copying keeps the job waiting, and no guest; force cancel is told at once", async () => {
  const rig = await openRig({ size: SIZE });
  rig.fill("source", 0, SIZE, 1);
  rig.targetFaults.add({ operation: "write", hold: true, nth: 2 });
  const guest = rig.guest();
  const { job } = await rig.mirror();
  await rig.clock.advance(100);
  expect(rig.targetFaults.held).toHaveLength(1);
  expect(await guestGetsThrough(rig, () => guest.write(0, [Buffer.alloc(KIB, 2)]))).toBe(true);
  job.cancel({ force: true });
  await rig.clock.advance(100);
  expect(job.snapshot().cancelRequested).toBe(true);
  expect(await guestGetsThrough(rig, () => guest.write(KIB, [Buffer.alloc(KIB, 3)]))).toBe(true);
  rig.targetFaults.release();
  expect(await rig.run(job.done)).toEqual({ outcome: "cancelled" });
});

describe("how long nothing was answered, and by whom", () => {
  test.each([
    ["source", "status"],
    ["target", "status"],
    ["source", "read"],
    ["target", "write"],
    ["target", "flush"],
  ] as const)("is told of a %s that hangs in a %s", async (side, operation) => {
    const rig = await openRig({ size: SIZE });
    rig.fill("source", 0, SIZE, 1);
    const faults = side === "source" ? rig.sourceFaults : rig.targetFaults;
    faults.add({ operation, hold: true, nth: 1 });
    const { job } = await rig.mirror();
    for (let step = 0; step < 200 && faults.held.length === 0; step += 1) await rig.clock.advance(1);
    // What the others were asked for comes back.
    await rig.clock.advance(100);
    const before = Number(job.snapshot().details?.unansweredMs);
    await rig.clock.advance(7000);
    expect(silence(job)).toEqual({ unansweredMs: before + 7000, unansweredBy: side });
    faults.release();
    await rig.until("BLOCK_JOB_READY");
    await rig.clock.advance(1000);
    expect(silence(job)).toEqual({ unansweredMs: 0, unansweredBy: undefined });
    job.cancel({ force: true });
    await rig.run(job.done);
  });

  test("is told of guests' writes, too, and not while a device only takes its time", async () => {
    const rig = await openRig({ size: SIZE });
    const guest = rig.guest();
    const { job } = await rig.mirror({ copyMode: "write-blocking" });
    await rig.until("BLOCK_JOB_READY");
    rig.targetFaults.add({ operation: "write", delayMs: 900, times: 0 });
    for (let index = 0; index < 5; index += 1) {
      const written = Promise.resolve(guest.write(index * KIB, [Buffer.alloc(KIB, 4)]));
      await rig.clock.advance(600);
      expect(silence(job)).toEqual({ unansweredMs: 600, unansweredBy: "target" });
      await rig.run(written);
    }
    rig.targetFaults.clear();
    rig.targetFaults.add({ operation: "write", hold: true });
    const last = Promise.resolve(guest.write(0, [Buffer.alloc(KIB, 5)]));
    await rig.clock.advance(9000);
    expect(silence(job)).toEqual({ unansweredMs: 9000, unansweredBy: "target" });
    rig.targetFaults.release();
    await rig.run(last);
    expect(silence(job)).toEqual({ unansweredMs: 0, unansweredBy: undefined });
    job.cancel({ force: true });
    await rig.run(job.done);
  });
});

test("in write-blocking mode guests wait for a target that hangs, and a force cancel frees every one of them", async () => {
  const rig = await openRig({ size: SIZE });
  const guest = rig.guest();
  const { job } = await rig.mirror({ copyMode: "write-blocking" });
  await rig.until("BLOCK_JOB_READY");
  rig.targetFaults.add({ operation: "write", hold: true, times: 0 });
  const done: number[] = [];
  const write = (at: number): void => {
    void Promise.resolve(guest.write(at, [Buffer.alloc(KIB, 4)])).then(() => done.push(at));
  };
  write(0);
  // The same chunk, and another one.
  write(2 * KIB);
  write(MIB);
  await rig.clock.advance(1000);
  expect(done).toEqual([]);
  job.cancel({ force: true });
  await rig.clock.advance(50);
  expect(done.toSorted((a, b) => a - b)).toEqual([0, 2 * KIB, MIB]);
  expect(await guestGetsThrough(rig, () => guest.write(2 * MIB, [Buffer.alloc(KIB, 5)]))).toBe(true);
  rig.targetFaults.clear();
  rig.targetFaults.release();
  expect(await rig.run(job.done)).toEqual({ outcome: "cancelled" });
  expect([rig.content("source")[0], rig.content("source")[2 * MIB]]).toEqual([4, 5]);
});

describe("a target that never answers", () => {
  /** Where the job waits for it when it is thrown away. */
  const WAITS = {
    "while it copies": async (rig: Rig) => {
      rig.fill("source", 0, SIZE, 1);
      rig.targetFaults.add({ operation: "write", hold: true, times: 0 });
      return rig.mirror();
    },
    "while it asks what the target holds": async (rig: Rig) => {
      rig.targetFaults.add({ operation: "status", hold: true, times: 0 });
      return rig.mirror();
    },
    "in the flush before READY": async (rig: Rig) => {
      rig.targetFaults.add({ operation: "flush", hold: true, times: 0 });
      return rig.mirror();
    },
    "while it is being paused": async (rig: Rig) => {
      rig.fill("source", 0, SIZE, 1);
      rig.targetFaults.add({ operation: "write", hold: true, times: 0 });
      const mirror = await rig.mirror();
      await rig.clock.advance(100);
      mirror.job.pause();
      return mirror;
    },
    "in the flush at the end": async (rig: Rig) => {
      const mirror = await rig.mirror();
      await rig.until("BLOCK_JOB_READY");
      await rig.run(
        Promise.resolve(rig.guest(rig.graph.find("#mirror-m0")).write(0, [Buffer.alloc(KIB, 1)])),
      );
      rig.targetFaults.add({ operation: "flush", hold: true, times: 0 });
      await mirror.job.complete();
      return mirror;
    },
    "in the flush before the guests are held": async (rig: Rig) => {
      const mirror = await rig.mirror();
      await rig.until("BLOCK_JOB_READY");
      rig.targetFaults.add({ operation: "flush", hold: true, times: 0 });
      await rig.run(
        Promise.resolve(rig.guest(rig.graph.find("#mirror-m0")).write(0, [Buffer.alloc(KIB, 1)])),
      );
      await rig.clock.advance(500);
      await mirror.job.complete();
      return mirror;
    },
    "while it is being finalized": async (rig: Rig) => {
      const mirror = await rig.mirror({ autoFinalize: false });
      await rig.until("BLOCK_JOB_READY");
      await mirror.job.complete();
      await rig.until("BLOCK_JOB_PENDING");
      rig.targetFaults.add({ operation: "write", hold: true, times: 0 });
      await rig.run(
        Promise.resolve(rig.guest(rig.graph.find("#mirror-m0")).write(0, [Buffer.alloc(KIB, 1)])),
      );
      mirror.job.finalize();
      return mirror;
    },
    "in a guest's write": async (rig: Rig) => {
      const mirror = await rig.mirror({ copyMode: "write-blocking" });
      await rig.until("BLOCK_JOB_READY");
      rig.targetFaults.add({ operation: "write", hold: true, times: 0 });
      void rig.guest(rig.graph.find("#mirror-m0")).write(0, [Buffer.alloc(KIB, 1)]);
      return mirror;
    },
    "while it makes the end of the target zero": async (rig: Rig) => {
      rig.targetFaults.add({ operation: "writeZeroes", hold: true, times: 0 });
      return rig.mirror({ largerTarget: "zero" });
    },
  };

  test.each(Object.entries(WAITS))(
    "%s: a forced cancel ends the job within seconds",
    async (where, start) => {
      const rig = await openRig({
        size: SIZE,
        ...(where.includes("end of the target") && { targetSize: 2 * SIZE }),
      });
      const guest = rig.guest();
      const { job } = await start(rig);
      await rig.clock.advance(300);
      expect(rig.targetFaults.held.length).toBeGreaterThan(0);
      job.cancel({ force: true });
      const end = await rig.run(job.done, 6000);
      expect(end).toMatchObject({ outcome: "cancelled", cleanupError: { code: "ETIMEDOUT" } });
      expect(job.snapshot().status).toBe("concluded");
      // The source is free, with its guests, and can be mirrored again.
      expect(guest.node).toBe(rig.source);
      expect(await guestGetsThrough(rig, () => guest.write(MIB, [Buffer.alloc(KIB, 2)]))).toBe(true);
      expect(rig.graph.find("#mirror-m0")).toBeUndefined();
      // Until the target has answered nobody else may write there.
      await expect(rig.mirror({ id: "m1", largerTarget: "leave" })).rejects.toThrow(/mirror job 'm0'/u);
      const told = rig.events.length;
      rig.targetFaults.clear();
      rig.targetFaults.release();
      await rig.clock.advance(200);
      expect(rig.events.slice(told), "a job that is over tells nothing more").toEqual([]);
      expect(
        await guestGetsThrough(rig, () => guest.write(2 * MIB, [Buffer.alloc(KIB, 3)])),
        "what goes on at last holds nobody",
      ).toBe(true);
      const again = await rig.mirror({ id: "m1", largerTarget: "leave" });
      await rig.until("BLOCK_JOB_READY");
      again.job.cancel({ force: true });
      await rig.run(again.job.done);
      await rig.graph.closeAll();
    },
  );

  test("what fails at last, when the job is over, is told to nobody", async () => {
    const rig = await openRig({ size: SIZE });
    rig.fill("source", 0, SIZE, 1);
    rig.targetFaults.add({ operation: "write", hold: true, error: "EIO", times: 0 });
    const { job } = await rig.mirror();
    await rig.clock.advance(100);
    job.cancel({ force: true });
    await rig.run(job.done, 6000);
    const told = rig.events.length;
    rig.targetFaults.release();
    await rig.clock.advance(200);
    expect(rig.events).toHaveLength(told);
    expect([...rig.target.parents]).toEqual([]);
  });

  test("the manager closes in bounded time", async () => {
    const rig = await openRig({ size: SIZE });
    rig.fill("source", 0, SIZE, 1);
    rig.targetFaults.add({ operation: "write", hold: true, times: 0 });
    await rig.mirror();
    await rig.clock.advance(100);
    await rig.run(rig.jobs.close(), 6000);
    rig.targetFaults.release();
  });
});
