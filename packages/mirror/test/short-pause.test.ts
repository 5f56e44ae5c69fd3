import { expect, test } from "vitest";
import { KIB, MIB, openRig, seededRandom } from "./support/rig.ts";

const SIZE = 4 * MIB;

test.each([
  { switchPauseMs: 0, guests: 1, granularity: 0 },
  { switchPauseMs: 0, guests: 4, granularity: 0 },
  { switchPauseMs: 1, guests: 1, granularity: 0 },
  { switchPauseMs: 0, guests: 1, granularity: MIB },
])(
  "guests that are to be held as briefly as can be, and never rest, do not keep a job from ending: %j",
  async ({ guests, ...options }) => {
    const rig = await openRig({ size: SIZE, latency: () => 1 });
    rig.fill("source", 0, SIZE, 1);
    const guest = rig.guest();
    const random = seededRandom(5);
    const state = { isOver: false, longestMs: 0 };
    const write = async (): Promise<void> => {
      while (!state.isOver) {
        const sinceMs = rig.clock.now();
        await guest.write(Math.floor(random() * 1000) * 4 * KIB, [Buffer.alloc(4 * KIB, 3)]);
        state.longestMs = Math.max(state.longestMs, rig.clock.now() - sinceMs);
        await new Promise<void>((resolve) => void rig.clock.schedule(3, resolve));
      }
    };
    const writing = Promise.all(Array.from({ length: guests }, write));
    const mirror = await rig.mirror(options);
    for (let step = 0; step < 50 && mirror.job.status !== "ready"; step += 1) await rig.clock.advance(100);
    expect(mirror.job.status).toBe("ready");
    await mirror.job.complete();
    expect(await rig.run(mirror.job.done, 5000)).toEqual({ outcome: "completed" });
    expect(mirror.switched).toBe(true);
    state.isOver = true;
    await rig.run(writing);
    expect(state.longestMs).toBeLessThan(50);
    await rig.graph.closeAll();
  },
);
