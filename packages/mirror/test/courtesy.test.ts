import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { BlockEdge } from "@blockmirror/block-driver";
import { describe, expect, it, onTestFinished } from "vitest";
import { Courtesy } from "../src/courtesy.ts";
import { mirrorTraceChannel, type Mirror } from "../src/index.ts";
import { KIB, MIB, openRig, type Rig } from "./support/rig.ts";

/** The times at which copy operations begin from now on, in milliseconds of the rig's clock. */
function copyTimes(rig: Rig): number[] {
  const times: number[] = [];
  const note = (): void => void times.push(rig.clock.now());
  const channel = mirrorTraceChannel("one_iteration");
  subscribe(channel, note);
  onTestFinished(() => void unsubscribe(channel, note));
  return times;
}

/** The guest reads `perMs` times in each of so many milliseconds. */
async function beBusy(rig: Rig, guest: BlockEdge, milliseconds: number, perMs: number): Promise<void> {
  const reads: unknown[] = [];
  for (let ms = 0; ms < milliseconds; ms += 1) {
    for (let request = 0; request < perMs; request += 1) reads.push(guest.read(0, [Buffer.alloc(512)]));
    await rig.clock.advance(1);
  }
  // Those of the last moment settle when somebody else lets time pass.
  void Promise.all(reads);
}

async function end(rig: Rig, { job }: Mirror): Promise<void> {
  job.cancel({ force: true });
  await rig.run(job.done);
}

describe("a mirror beside a busy guest", () => {
  it("copies in every second turn of four milliseconds, and no more than four operations at a time", async () => {
    const rig = await openRig({ size: 256 * MIB, latency: () => 1 });
    rig.fill("source", 0, 256 * MIB, 1);
    const guest = rig.guest();
    const mirror = await rig.mirror();
    await beBusy(rig, guest, 16, 5);
    const times = copyTimes(rig);
    let most = 0;
    for (let ms = 0; ms < 40; ms += 1) {
      await beBusy(rig, guest, 1, 5);
      most = Math.max(most, mirror.job.snapshot().details?.inFlightOperations ?? 0);
    }
    expect(times.length).toBeGreaterThan(8);
    expect(times.filter((ms) => ms % 8 >= 4)).toEqual([]);
    expect(most).toBe(4);
    await end(rig, mirror);
  });

  it("has all of the time when the guest is nearly idle, and when it goes away", async () => {
    const rig = await openRig({ size: 256 * MIB, latency: () => 1 });
    rig.fill("source", 0, 256 * MIB, 1);
    const guest = rig.guest();
    const mirror = await rig.mirror();
    const idle = copyTimes(rig);
    await beBusy(rig, guest, 32, 0.5);
    expect(idle.filter((ms) => ms % 8 >= 4).length).toBeGreaterThan(0);
    await beBusy(rig, guest, 16, 5);
    await rig.clock.advance(16);
    const after = copyTimes(rig);
    await rig.clock.advance(32);
    expect(after.filter((ms) => ms % 8 >= 4).length).toBeGreaterThan(0);
    await end(rig, mirror);
  });

  it("takes all of the time to complete", async () => {
    const rig = await openRig({ size: 64 * MIB, latency: () => 1 });
    const guest = rig.guest();
    const mirror = await rig.mirror();
    await rig.until("BLOCK_JOB_READY");
    for (let at = 0; at < 64 * MIB; at += 128 * KIB) void guest.write(at, [Buffer.alloc(512, 3)]);
    await rig.clock.advance(4);
    const times = copyTimes(rig);
    void mirror.job.complete();
    await beBusy(rig, guest, 60, 5);
    expect(times.filter((ms) => ms % 12 >= 4).length).toBeGreaterThan(0);
    await rig.run(mirror.job.done);
    expect(mirror.switched).toBe(true);
  });
});

/** Beside a guest that has made many requests whenever it is looked at. */
function besideBusyGuest(): Courtesy {
  let requests = 0;
  const courtesy = new Courtesy(() => (requests += 10_000));
  courtesy.yields(0);
  return courtesy;
}

describe("whose turn it is", () => {
  it("the copy's turns are one in two at first, one in three when everything was copied once", () => {
    const courtesy = besideBusyGuest();
    expect([24, 27, 28, 31].map((ms) => courtesy.restMs(ms, false))).toEqual([0, 0, 4, 1]);
    expect([48, 51, 52, 55, 59].map((ms) => courtesy.restMs(ms, true))).toEqual([0, 0, 8, 5, 1]);
  });

  it("a job that falls behind for a second takes all until it is even, then guests go first again", () => {
    const courtesy = besideBusyGuest();
    courtesy.note(0, "behind");
    courtesy.note(999, "behind");
    expect(courtesy.yields(1000)).toBe(true);
    courtesy.note(1000, "behind");
    expect(courtesy.yields(1004)).toBe(false);
    courtesy.note(1500, undefined);
    expect(courtesy.yields(1504)).toBe(false);
    courtesy.note(1600, "even");
    expect(courtesy.yields(1604)).toBe(true);
  });

  it("if all is not enough either, guests go first for longer each time", () => {
    const courtesy = besideBusyGuest();
    /** Seconds in which the job takes all, of so many in which it falls behind. */
    const taken: number[] = [];
    for (let second = 0; second <= 40; second += 1) {
      courtesy.note(second * 1000, "behind");
      if (!courtesy.yields(second * 1000 + 4)) taken.push(second);
    }
    expect(taken).toEqual([1, 6, 15, 32]);
  });
});
