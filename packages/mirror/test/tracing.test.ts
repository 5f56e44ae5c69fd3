import { channel, subscribe, unsubscribe } from "node:diagnostics_channel";
import { afterEach, describe, expect, it } from "vitest";
import { mirrorTraceChannel, type MirrorTraceMessages, type MirrorTracePoint } from "../src/index.ts";
import { KIB, MIB, openRig } from "./support/rig.ts";

const POINTS: readonly MirrorTracePoint[] = [
  "start",
  "restart_iter",
  "yield_in_flight",
  "yield_buf_busy",
  "break_buf_busy",
  "one_iteration",
  "iteration_done",
  "yield",
  "before_flush",
  "before_drain",
  "before_sleep",
];

describe("S34: tracing points", () => {
  const stops: (() => void)[] = [];

  afterEach(() => {
    for (const stop of stops.splice(0)) stop();
  });

  /** Everything that is told at the points, in order. */
  function listen(points: readonly MirrorTracePoint[]): [MirrorTracePoint, unknown][] {
    const heard: [MirrorTracePoint, unknown][] = [];
    for (const point of points) {
      const hear = (message: unknown): void => {
        heard.push([point, message]);
      };
      subscribe(mirrorTraceChannel(point), hear);
      stops.push(() => unsubscribe(mirrorTraceChannel(point), hear));
    }
    return heard;
  }

  it("every point is told in the life of a busy mirror", async () => {
    const heard = listen(POINTS);
    const rig = await openRig({ size: 4 * MIB, latency: () => 1 });
    rig.fill("source", 0, 4 * MIB, 1);
    const guest = rig.guest();
    const { job } = await rig.mirror({ granularity: 64 * KIB, bufferSize: 1536 * KIB });
    await rig.clock.advance(5);
    await rig.run(Promise.resolve(guest.write(0, [Buffer.alloc(100, 2)])));
    await rig.until("BLOCK_JOB_READY");
    await rig.clock.advance(500);
    // A chunk that is written again while it is being copied, and nothing else is left to do.
    rig.targetFaults.add({ operation: "write", hold: true, times: 1 });
    await rig.run(Promise.resolve(guest.write(3 * MIB, [Buffer.alloc(100, 2)])));
    const copy = await rig.run(rig.targetFaults.waitForHeld("write"));
    await rig.run(Promise.resolve(guest.write(3 * MIB, [Buffer.alloc(100, 3)])));
    await rig.clock.advance(500);
    copy.release();
    await rig.clock.advance(500);
    await job.complete();
    await rig.run(job.done);
    expect(new Set(heard.map(([point]) => point))).toEqual(new Set(POINTS));
    expect(heard[0]).toEqual(["start", { job: "m0", source: "source", target: "target" }]);
    for (const [, message] of heard) expect(message).toMatchObject({ job: "m0" });
  });

  it("an operation's end tells whether it failed", async () => {
    const heard = listen(["one_iteration", "iteration_done"]);
    const rig = await openRig({ size: 64 * KIB });
    rig.fill("source", 0, 64 * KIB, 1);
    rig.targetFaults.add({ operation: "write", error: "EIO", times: 1 });
    const { job } = await rig.mirror({ onTargetError: "ignore" });
    await rig.until("BLOCK_JOB_READY");
    const range = { job: "m0", offset: 0, length: 64 * KIB };
    const failed: MirrorTraceMessages["iteration_done"] = {
      ...range,
      error: expect.objectContaining({ code: "EIO" }),
    };
    expect(heard).toEqual([
      ["one_iteration", { ...range, zero: false }],
      ["iteration_done", failed],
      ["one_iteration", { ...range, zero: false }],
      ["iteration_done", range],
    ]);
    job.cancel({ force: true });
    await rig.run(job.done);
  });

  it("nobody makes a message that nobody listens to", () => {
    for (const point of POINTS) expect(channel(mirrorTraceChannel(point)).hasSubscribers).toBe(false);
  });
});
