import { describe, expect, it } from "vitest";
import { Deadline, type Standing } from "../src/deadline.ts";
import { MIB, openRig, type Rig } from "./support/rig.ts";

const SIZE = 128 * MIB;
const CHUNK = 64 * 1024;

/** Milliseconds of the rig's clock until the job is READY, beside a guest that writes at random places without a pause. */
async function readyMs(rig: Rig, copyMode: "auto" | "background", guestWrites: number, limitMs: number) {
  const guest = rig.guest();
  const started = rig.clock.now();
  const { job } = await rig.mirror({ copyMode });
  let at = 0;
  const outstanding = new Set<Promise<void>>();
  while (job.status !== "ready" && rig.clock.now() - started < limitMs) {
    while (outstanding.size < guestWrites) {
      // A stride that is prime to the number of chunks comes to each of them, in no order that helps the sweep.
      at = (at + 757 * CHUNK + 4096) % (SIZE - 4096);
      const write = Promise.resolve(guest.write(at, [Buffer.alloc(4096, 7)]));
      outstanding.add(write);
      void write.then(() => outstanding.delete(write));
    }
    await rig.clock.advance(1);
  }
  const elapsed = rig.clock.now() - started;
  const { status } = job;
  await rig.run(Promise.all(outstanding));
  job.cancel({ force: true });
  await rig.run(job.done);
  return { elapsed, status };
}

async function fullRig(): Promise<Rig> {
  const rig = await openRig({ size: SIZE, latency: () => 20 });
  rig.fill("source", 0, SIZE, 1);
  return rig;
}

describe("automatic copy mode has a deadline", () => {
  it("READY comes within three times what it takes alone, beside a guest that dirties faster than is copied", async () => {
    const alone = await readyMs(await fullRig(), "auto", 0, 180_000);
    expect(alone.status).toBe("ready");
    const outrun = await readyMs(await fullRig(), "background", 128, 3 * alone.elapsed);
    expect(outrun.status, "the guest must be too fast for a mirror in the background").not.toBe("ready");
    const inTime = await readyMs(await fullRig(), "auto", 128, 4 * alone.elapsed);
    expect(inTime.status).toBe("ready");
    expect(inTime.elapsed).toBeLessThanOrEqual(3 * alone.elapsed);
  }, 180_000);
});

describe("whether the deadline is missed", () => {
  const standing = (doneBytes: number, leftBytes: number, dirtyBytesPerSec = 0): Standing => ({
    doneBytes,
    leftBytes,
    dirtyBytesPerSec,
  });

  /** A copy of 1000 bytes that did 200 in 200 ms when it had all of the time, so that alone it takes 1000 ms. */
  function measured(): Deadline {
    const deadline = new Deadline();
    deadline.begin(0, 1000);
    expect(deadline.isMeasuring(199, 199)).toBe(true);
    expect(deadline.isMeasuring(200, 200)).toBe(false);
    return deadline;
  }

  it("is not known before the copy was measured, nor once nothing is left", () => {
    const deadline = new Deadline();
    expect(deadline.isMeasuring(0, 0), "before the copy begins").toBe(false);
    deadline.begin(0, 1000);
    expect(deadline.isMeasuring(1000, 0), "nothing was copied").toBe(true);
    expect(deadline.isMissed(1000, standing(0, 1000))).toBe(false);
    expect(measured().isMissed(1_000_000, standing(1000, 0))).toBe(false);
  });

  it("a pace that would take more than twice as long as alone is too slow", () => {
    // 400 ms are left for 200 bytes in the first case, and 200 ms in the second.
    expect(measured().isMissedAtThisPace(1600, standing(900, 200))).toBe(false);
    expect(measured().isMissedAtThisPace(1800, standing(800, 200))).toBe(true);
    expect(measured().isMissed(1600, standing(900, 200))).toBe(false);
    expect(measured().isMissed(1900, standing(900, 200))).toBe(true);
  });

  it("what is dirtied meanwhile counts, and a copy that is outrun never comes", () => {
    expect(measured().isMissed(300, standing(300, 700, 500))).toBe(false);
    expect(measured().isMissed(300, standing(300, 700, 700))).toBe(true);
    expect(measured().isMissed(300, standing(300, 700, 1000))).toBe(true);
  });

  it("a pause of the user is no delay", () => {
    const deadline = measured();
    deadline.pause(300);
    deadline.resume(60_300);
    expect(deadline.isMissed(60_400, standing(400, 700))).toBe(false);
    expect(deadline.isMissed(62_000, standing(400, 700))).toBe(true);
  });
});
