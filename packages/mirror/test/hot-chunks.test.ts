import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { expect, onTestFinished, test } from "vitest";
import { mirrorTraceChannel } from "../src/index.ts";
import { KIB, MIB, openRig } from "./support/rig.ts";

const CHUNK = 64 * KIB;

/** Calls `onCopy` with the sweep and the chunk of every operation that begins. */
function watchCopies(onCopy: (sweep: number, chunk: number) => void): void {
  let sweep = 1;
  const listeners: readonly (readonly [string, (message: unknown) => void])[] = [
    [mirrorTraceChannel("restart_iter"), () => (sweep += 1)],
    [
      mirrorTraceChannel("one_iteration"),
      (message) => {
        if (typeof message !== "object" || message === null || !("offset" in message)) return;
        onCopy(sweep, Number(message.offset) / CHUNK);
      },
    ],
  ];
  for (const [channel, listener] of listeners) subscribe(channel, listener);
  onTestFinished(() => listeners.forEach(([channel, listener]) => void unsubscribe(channel, listener)));
}

test("a chunk that is dirty again after the last sweep copied it is copied behind all others", async () => {
  const rig = await openRig({ size: MIB, latency: () => 1 });
  rig.fill("source", 0, MIB, 1);
  const guest = rig.guest();
  const write = (chunk: number): void => {
    void guest.write(chunk * CHUNK, [Buffer.alloc(100, 7)]);
  };
  const order: (readonly [sweep: number, chunk: number])[] = [];
  watchCopies((sweep, chunk) => {
    if (sweep > 1) order.push([sweep, chunk]);
    if (sweep === 1 && chunk === 15) for (const dirtied of [3, 13]) write(dirtied);
    if (sweep === 2 && chunk === 13) for (const dirtied of [3, 8, 10]) write(dirtied);
    if (sweep === 3 && chunk === 10) write(5);
  });
  const { job } = await rig.mirror({ granularity: CHUNK, bufferSize: CHUNK, switchPauseMs: 0 });
  await rig.until("BLOCK_JOB_READY");
  expect(order).toEqual([
    [2, 3],
    [2, 13],
    [3, 8],
    [3, 10],
    // All that is left: the hot chunk, and what was dirtied behind the walk meanwhile.
    [3, 3],
    [3, 5],
  ]);
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  job.cancel({ force: true });
  await rig.run(job.done);
});
