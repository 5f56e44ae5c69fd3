// Mirror rules that hold only against a race: each test makes the one interleaving in which a job without the rule loses data.
import { expect, test } from "vitest";
import type { Mirror } from "../../src/index.ts";
import { KIB, MIB, openRig, seededRandom, type Rig } from "../support/rig.ts";

const SIZE = 4 * MIB;
const CHUNK = 64 * KIB;

/** Extents that one answer about the source's state can hold. */
const BATCH = 4096;
/** A hole, then data and holes in turn: more extents than two answers hold. */
const HOLE = 8 * MIB;
const PATTERN = 4 * KIB;

async function end(rig: Rig, { job }: Mirror): Promise<void> {
  job.cancel({ force: true });
  await rig.run(job.done);
}

/** A rig whose scan takes three queries of the source, the second of which is held. */
async function openLongScan(): Promise<Rig> {
  const size = HOLE + 2.5 * BATCH * PATTERN;
  const rig = await openRig({ size });
  for (let at = HOLE; at < size; at += 2 * PATTERN) rig.fill("source", at, 512, 1);
  rig.sourceFaults.add({ operation: "status", nth: 2, hold: true });
  return rig;
}

function count(rig: Rig, operation: string): number {
  return rig.sourceFaults.log.filter((entry) => entry.operation === operation).length;
}

test("0f51f9c342, S2.6: a guest's write into a range that the scan has judged to be a hole already is copied", async () => {
  const rig = await openLongScan();
  const guest = rig.guest();
  const mirror = await rig.mirror();
  // The first answer covers the hole and is taken in; nobody asks about it again.
  const query = await rig.run(rig.sourceFaults.waitForHeld("status"));
  expect(query.offset).toBeGreaterThan(HOLE);
  await rig.run(Promise.resolve(guest.write(5 * MIB, [Buffer.alloc(1000, 0x77)])));
  query.release();
  await rig.until("BLOCK_JOB_READY");
  expect(
    rig
      .content("target")
      .subarray(5 * MIB, 5 * MIB + 1000)
      .equals(Buffer.alloc(1000, 0x77)),
  ).toBe(true);
  await end(rig, mirror);
});

test.each(["pause", "cancel"] as const)(
  "D16, S11.4: a %s that comes during the scan ends its walk before the next query",
  async (verb) => {
    const rig = await openLongScan();
    const { job } = await rig.mirror();
    const query = await rig.run(rig.sourceFaults.waitForHeld("status"));
    await rig.clock.advance(150);
    job[verb]();
    query.release();
    await rig.clock.advance(50);
    expect(count(rig, "status")).toBe(2);
    expect(job.status).toBe(verb === "pause" ? "paused" : "concluded");
    if (verb === "pause") job.cancel();
    expect(await rig.run(job.done)).toEqual({ outcome: "cancelled" });
  },
);

test("S14.1: a write that settles while the copy's read is on its way back is copied again", async () => {
  const pace = { ms: 10 };
  const rig = await openRig({ size: CHUNK, latency: () => pace.ms });
  rig.fill("source", 0, CHUNK, 1);
  const guest = rig.guest();
  const mirror = await rig.mirror();
  while (count(rig, "read") === 0) await rig.clock.advance(1);
  // What was read is old from now on, and has ten milliseconds to go.
  pace.ms = 1;
  await rig.run(Promise.resolve(guest.write(0, [Buffer.alloc(512, 7)])));
  await rig.until("BLOCK_JOB_READY");
  expect(rig.content("target")[0]).toBe(7);
  await end(rig, mirror);
});

test("D9, S8.3, S8.4: a run ends before a chunk that is in flight, and goes on behind it", async () => {
  const rig = await openRig({ size: SIZE });
  const guest = rig.guest();
  const mirror = await rig.mirror({ granularity: CHUNK });
  await rig.until("BLOCK_JOB_READY");
  rig.targetFaults.add({ operation: "write", hold: true });
  await rig.run(Promise.resolve(guest.write(2 * CHUNK, [Buffer.alloc(CHUNK, 1)])));
  await rig.run(rig.targetFaults.waitForHeld("write"));
  rig.sourceFaults.clearLog();
  await rig.run(Promise.resolve(guest.write(0, [Buffer.alloc(4 * CHUNK, 2)])));
  await rig.clock.advance(500);
  const reads = rig.sourceFaults.log
    .filter(({ operation }) => operation === "read")
    .toSorted((one, other) => one.offset - other.offset);
  expect(reads.map(({ offset, length }) => [offset / CHUNK, length / CHUNK])).toEqual([
    [0, 2],
    [3, 1],
  ]);
  rig.targetFaults.clear();
  rig.targetFaults.release();
  await rig.clock.advance(500);
  expect(rig.content("target").equals(rig.content("source"))).toBe(true);
  await end(rig, mirror);
});

/** A READY job that is told to complete while a guest's write is on its way: the drain has to wait for it. */
async function completeOverAWrite(
  rig: Rig,
): Promise<{ readonly mirror: Mirror; readonly written: Promise<void> }> {
  const guest = rig.guest();
  const mirror = await rig.mirror({ onTargetError: "ignore" });
  await rig.until("BLOCK_JOB_READY");
  rig.sourceFaults.add({ operation: "write", hold: true });
  const written = Promise.resolve(guest.write(MIB, [Buffer.alloc(512, 5)]));
  const held = await rig.run(rig.sourceFaults.waitForHeld("write"));
  await rig.run(mirror.job.complete());
  await rig.clock.advance(300);
  expect(mirror.job.status).toBe("ready");
  rig.sourceFaults.clear();
  held.release();
  return { mirror, written };
}

test("S28.1: what was on its way when the guests were held is counted: the job does not finish while it is dirty", async () => {
  const rig = await openRig({ size: SIZE });
  const { mirror, written } = await completeOverAWrite(rig);
  rig.targetFaults.add({ operation: "write", times: 2, error: "EIO" });
  await rig.run(written);
  expect(await rig.run(mirror.job.done)).toEqual({ outcome: "completed" });
  expect(rig.content("target")[MIB]).toBe(5);
});

test("S28.2, D10: a write that comes after the last count goes to the target, never to the source that is left", async () => {
  const rig = await openRig({ size: SIZE });
  const { mirror, written } = await completeOverAWrite(rig);
  rig.targetFaults.add({ operation: "flush", hold: true });
  await rig.run(written);
  const flush = await rig.run(rig.targetFaults.waitForHeld("flush"));
  const [guest] = [...(rig.graph.find("#mirror-m0")?.parents ?? [])];
  const late = Promise.resolve(guest?.write(2 * MIB, [Buffer.alloc(512, 6)]));
  rig.targetFaults.clear();
  flush.release();
  expect(await rig.run(mirror.job.done)).toEqual({ outcome: "completed" });
  await rig.run(late);
  expect(guest?.node).toBe(rig.target);
  expect([rig.content("target")[2 * MIB], rig.content("source")[2 * MIB]]).toEqual([6, 0]);
});

test("D17, S23.1: what is on its way is not done: the offset is never ahead of what the target has", async () => {
  const random = seededRandom(17);
  const rig = await openRig({ size: 16 * MIB, latency: () => 1 + random() * 30 });
  rig.fill("source", 0, 16 * MIB, 1);
  // Several operations, that end one by one: some are on their way whenever progress is published.
  const mirror = await rig.mirror({ bufferSize: 4 * MIB });
  const seen: number[] = [];
  while (mirror.job.status !== "ready") {
    await rig.clock.advance(3);
    const { offset } = mirror.job.snapshot();
    const arrived = rig.targetFaults.log
      .filter(({ operation }) => operation === "write")
      .reduce((sum, { length }) => sum + length, 0);
    expect(offset).toBeLessThanOrEqual(arrived);
    seen.push(offset);
  }
  expect(new Set(seen).size).toBeGreaterThan(5);
  await end(rig, mirror);
});
