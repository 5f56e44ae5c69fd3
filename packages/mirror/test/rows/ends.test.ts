// Mirror rules S25 to S33: every way in which a job ends.
import { expect, test } from "vitest";
import type { Mirror } from "../../src/index.ts";
import { openChain } from "../support/chain.ts";
import { KIB, MIB, openRig, type Rig } from "../support/rig.ts";

const SIZE = 4 * MIB;

/** Nothing of a job is left on source and target. */
function mustBeFree(rig: Rig, edges = 0): void {
  expect(rig.source.parents.size + rig.target.parents.size).toBe(edges);
  expect([...rig.source.dirtyBitmaps]).toEqual([]);
  expect(rig.graph.find("#mirror-m0")).toBeUndefined();
}

test("S25.2: cancelled as soon as it was started, nothing more is begun, and everything is released", async () => {
  const rig = await openRig({ size: 64 * MIB, latency: () => 10 });
  rig.fill("source", 0, 64 * MIB, 1);
  const { job } = await rig.mirror();
  job.cancel();
  expect(await rig.run(job.done)).toEqual({ outcome: "cancelled" });
  expect(rig.targetFaults.log.filter(({ operation }) => operation === "write").length).toBeLessThanOrEqual(
    16,
  );
  mustBeFree(rig);
});

test("S26.1, S26.2: a soft cancel after READY makes a copy of one moment; the guests stay where they are", async () => {
  const rig = await openRig({ size: SIZE, latency: () => 5 });
  const guest = rig.guest();
  const mirror = await rig.mirror();
  await rig.until("BLOCK_JOB_READY");
  await rig.run(Promise.resolve(guest.write(MIB, [Buffer.alloc(MIB, 6)])));
  mirror.job.cancel();
  expect(await rig.run(mirror.job.done)).toEqual({ outcome: "completed" });
  expect(mirror.switched).toBe(false);
  expect(guest.node).toBe(rig.source);
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  mustBeFree(rig, 1);
});

test("S27.3: complete wakes the job and returns; the job ends by itself", async () => {
  const rig = await openRig({ size: SIZE });
  const mirror = await rig.mirror();
  await rig.until("BLOCK_JOB_READY");
  await rig.clock.advance(1010);
  const asked = rig.clock.now();
  await mirror.job.complete();
  expect(rig.clock.now()).toBe(asked);
  await rig.run(mirror.job.done);
  expect(rig.clock.now() - asked).toBeLessThan(50);
});

test.each(["resume", "complete"] as const)(
  "S27.4, S27.5: a paused job that is to complete goes on after its resume, or at once where %s says so",
  async (by) => {
    const rig = await openRig({ size: SIZE });
    const mirror = await rig.mirror();
    await rig.until("BLOCK_JOB_READY");
    mirror.job.pause();
    await rig.clock.advance(200);
    await mirror.job.complete();
    await rig.clock.advance(5000);
    expect(mirror.job.status).toBe("standby");
    if (by === "resume") mirror.job.resume();
    else await mirror.job.complete({ resume: true });
    expect(await rig.run(mirror.job.done)).toEqual({ outcome: "completed" });
  },
);

test("S28.1, S28.2, S28.3, D10: guests of the source are held from the last count until the switch; nobody else is", async () => {
  const rig = await openRig({ size: SIZE, latency: () => 5 });
  const guest = rig.guest();
  const elsewhere = await rig.graph.open({ driver: "memory", nodeName: "elsewhere", size: MIB });
  const bystander = rig.guest(elsewhere);
  const mirror = await rig.mirror();
  await rig.until("BLOCK_JOB_READY");
  rig.targetFaults.add({ operation: "flush", hold: true });
  await rig.run(Promise.resolve(guest.write(0, [Buffer.alloc(512, 1)])));
  await rig.run(mirror.job.complete());
  const written: string[] = [];
  while (rig.targetFaults.held.length === 0) await rig.clock.advance(5);
  rig.targetFaults.release();
  const held = Promise.resolve(guest.write(512, [Buffer.alloc(512, 2)])).then(() => written.push("guest"));
  await bystander.write(0, [Buffer.alloc(512, 1)]);
  written.push("bystander");
  await rig.run(mirror.job.done);
  await rig.run(held);
  expect(written[0]).toBe("bystander");
  // What was held went to the one or the other side whole, and the guest finds it where it is now.
  const bytes = Buffer.alloc(1024);
  await rig.run(Promise.resolve(guest.read(0, [bytes])));
  expect([bytes[0], bytes[512]]).toEqual([1, 2]);
  expect(guest.node).toBe(rig.target);
});

test("S29.1: no switch without a complete, and none when the job fails after it", async () => {
  const rig = await openRig({ size: SIZE });
  const guest = rig.guest();
  const mirror = await rig.mirror();
  await rig.until("BLOCK_JOB_READY");
  await rig.run(Promise.resolve(guest.write(0, [Buffer.alloc(512, 1)])));
  rig.targetFaults.add({ operation: "write", times: 0, error: "EIO" });
  rig.targetFaults.add({ operation: "flush", times: 0, error: "EIO" });
  await rig.run(mirror.job.complete());
  expect(await rig.run(mirror.job.done)).toMatchObject({ outcome: "failed" });
  expect(mirror.switched).toBe(false);
  expect(guest.node).toBe(rig.source);
  await rig.run(Promise.resolve(guest.write(0, [Buffer.alloc(512, 2)])));
  mustBeFree(rig, 1);
});

type Way = (rig: Rig, mirror: Mirror) => Promise<void> | void;
const WAYS: readonly (readonly [string, Way])[] = [
  ["cancelled before READY", (_rig, { job }) => job.cancel()],
  [
    "failed",
    (rig) => {
      rig.targetFaults.add({ operation: "write", times: 0, error: "EIO" });
    },
  ],
  [
    "kept as a copy",
    async (rig, { job }) => {
      await rig.until("BLOCK_JOB_READY");
      job.cancel();
    },
  ],
  [
    "force-cancelled after READY",
    async (rig, { job }) => {
      await rig.until("BLOCK_JOB_READY");
      job.cancel({ force: true });
    },
  ],
  [
    "completed",
    async (rig, { job }) => {
      await rig.until("BLOCK_JOB_READY");
      await rig.run(job.complete());
    },
  ],
];

test.each(WAYS)(
  "S29.4, S32.1, S32.2, S32.3, D13: %s: running operations are awaited, and everything is given back once",
  async (_name, way) => {
    const rig = await openRig({ size: SIZE, latency: () => 15 });
    rig.fill("source", 0, SIZE, 1);
    const mirror = await rig.mirror();
    await rig.clock.advance(20);
    await way(rig, mirror);
    const result = await rig.run(mirror.job.done);
    expect(result.cleanupError).toBeUndefined();
    const requests = rig.targetFaults.log.length;
    await rig.clock.advance(1000);
    expect(rig.targetFaults.log.length).toBe(requests);
    mustBeFree(rig);
    await rig.graph.close(rig.source);
    await rig.graph.close(rig.target);
  },
);

test("S30.2: the base belongs to a commit as long as it runs, and to nobody afterwards", async () => {
  const chain = await openChain({ base: SIZE, overlays: [SIZE] });
  await chain.fill("overlay0", 0, 64 * KIB, 1);
  const commit = await chain.commit();
  await chain.until("BLOCK_JOB_READY");
  const write = { name: "other", uses: ["write"], shares: ["read"] } as const;
  expect(() => chain.graph.attach(chain.base, write)).toThrow(/in use/u);
  await expect(chain.graph.close(chain.base)).rejects.toThrow();
  commit.job.cancel({ force: true });
  await chain.run(commit.job.done);
  expect([...chain.base.parents].map(({ owner }) => owner?.name)).toEqual(["overlay0"]);
});
