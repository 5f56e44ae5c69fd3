import { ALL_PERMISSIONS, type BlockEdge, type BlockNode } from "@blockmirror/block-driver";
import { JobTransaction } from "@blockmirror/blockjob";
import { describe, expect, test } from "vitest";
import { startMirror, type Mirror } from "../src/index.ts";
import { KIB, MIB, openRig, type Rig } from "./support/rig.ts";

const SIZE = 2 * MIB;

async function readOnlySource(): Promise<{ rig: Rig; guest: BlockEdge; mirror: Mirror }> {
  const rig = await openRig({ size: SIZE });
  rig.fill("source", 0, SIZE, 3);
  await rig.graph.reopen(rig.source, { readOnly: true });
  const guest = rig.graph.attach(rig.source, { name: "guest", uses: ["read"], shares: ALL_PERMISSIONS });
  return { rig, guest, mirror: await rig.mirror() };
}

interface Group {
  readonly rig: Rig;
  readonly mirrors: readonly Mirror[];
  readonly guests: readonly BlockEdge[];
  readonly targets: readonly BlockNode[];
}

async function openGroup(count: number): Promise<Group> {
  const rig = await openRig({ size: SIZE });
  const transaction = new JobTransaction();
  const mirrors: Mirror[] = [];
  const guests: BlockEdge[] = [];
  const targets: BlockNode[] = [];
  for (let index = 0; index < count; index += 1) {
    const source = await rig.graph.open({ driver: "memory", nodeName: `disk${index}`, size: SIZE });
    const target = await rig.graph.open({ driver: "memory", nodeName: `copy${index}`, size: SIZE });
    guests.push(rig.guest(source));
    targets.push(target);
    const { graph, jobs } = rig;
    const options = { graph, jobs, source, target, transaction, autoDismiss: false };
    mirrors.push(await rig.run(startMirror({ ...options, id: `m${index}` })));
  }
  return { rig, mirrors, guests, targets };
}

const isReady = ({ job }: Mirror): boolean => job.snapshot().status === "ready";

async function content(rig: Rig, node: BlockNode): Promise<Buffer> {
  const edge = rig.graph.attach(node, { name: "look", uses: ["read"], shares: ALL_PERMISSIONS });
  const bytes = Buffer.alloc(SIZE);
  await edge.read(0, [bytes]);
  await rig.graph.detach(edge);
  return bytes;
}

describe("replaces: the node whose users are led to the target", () => {
  test("is not replaced by a larger target; cancelled, the copy is kept", async () => {
    const rig = await openRig({ size: SIZE, targetSize: 2 * SIZE });
    rig.fill("source", 0, SIZE, 1);
    const replaces = rig.graph.find("source-memory");
    const mirror = await rig.mirror({ largerTarget: "zero", ...(replaces !== undefined && { replaces }) });
    await rig.until("BLOCK_JOB_READY");
    await expect(rig.run(mirror.job.complete())).rejects.toMatchObject({ code: "EINVAL" });
    mirror.job.cancel();
    expect(await rig.run(mirror.job.done)).toEqual({ outcome: "completed" });
    expect(mirror.switched).toBe(false);
    expect(rig.content("target").subarray(0, SIZE).equals(rig.content("source"))).toBe(true);
  });

  test("a node below the source, with filters between: the filters stay, above the target", async () => {
    const rig = await openRig({ size: SIZE });
    rig.fill("source", 0, SIZE, 1);
    const guest = rig.guest();
    const below = rig.graph.find("source-memory");
    const mirror = await rig.mirror({ ...(below !== undefined && { replaces: below }) });
    await rig.until("BLOCK_JOB_READY");
    await rig.run(mirror.job.complete());
    expect(await rig.run(mirror.job.done)).toEqual({ outcome: "completed" });
    expect(mirror.switched).toBe(true);
    expect(guest.node).toBe(rig.source);
    expect(rig.graph.find("source-fault")?.child("filtered")?.node).toBe(rig.target);
    await rig.run(Promise.resolve(guest.write(0, [Buffer.alloc(KIB, 9)])));
    expect(rig.content("target").subarray(0, KIB).equals(Buffer.alloc(KIB, 9))).toBe(true);
    expect(rig.content("source")[0]).toBe(1);
    await rig.graph.closeAll();
  });

  test("the source itself is the same as not saying it", async () => {
    const rig = await openRig({ size: SIZE });
    const guest = rig.guest();
    const mirror = await rig.mirror({ replaces: rig.source });
    await rig.until("BLOCK_JOB_READY");
    await rig.run(mirror.job.complete());
    await rig.run(mirror.job.done);
    expect(guest.node).toBe(rig.target);
    await rig.graph.closeAll();
  });

  test("a node elsewhere is refused: its users would see other data", async () => {
    const rig = await openRig({ size: SIZE });
    const other = await rig.graph.open({ driver: "memory", nodeName: "other", size: SIZE });
    await expect(rig.mirror({ replaces: other })).rejects.toThrow(/abrupt change of visible data/u);
    await expect(rig.mirror({ replaces: rig.target })).rejects.toThrow(/abrupt change/u);
    expect([...rig.source.parents]).toEqual([]);
    await rig.graph.closeAll();
  });

  test("9ac85f4cc7: a second complete with replaces is harmless", async () => {
    const rig = await openRig({ size: SIZE });
    const below = rig.graph.find("source-memory");
    const mirror = await rig.mirror({ ...(below !== undefined && { replaces: below }) });
    await rig.until("BLOCK_JOB_READY");
    await rig.run(Promise.all([mirror.job.complete(), mirror.job.complete()]));
    expect(await rig.run(mirror.job.done)).toEqual({ outcome: "completed" });
    await rig.graph.closeAll();
  });

  test("cancelled after READY, nobody is led anywhere", async () => {
    const rig = await openRig({ size: SIZE });
    const below = rig.graph.find("source-memory");
    const mirror = await rig.mirror({ ...(below !== undefined && { replaces: below }) });
    await rig.until("BLOCK_JOB_READY");
    mirror.job.cancel();
    await rig.run(mirror.job.done);
    expect(mirror.switched).toBe(false);
    expect(rig.graph.find("source-fault")?.child("filtered")?.node.name).toBe("source-memory");
    await rig.graph.closeAll();
  });
});

describe("S29.2: the target gets the source's mode before the switch", () => {
  test("users of a read-only source find a read-only target", async () => {
    const { rig, guest, mirror } = await readOnlySource();
    await rig.until("BLOCK_JOB_READY");
    await rig.run(mirror.job.complete());
    expect(await rig.run(mirror.job.done)).toEqual({ outcome: "completed" });
    expect(guest.node).toBe(rig.target);
    expect(rig.target.info.readOnly).toBe(true);
    await rig.graph.closeAll();
  });

  test("D21: a target that cannot become read-only fails the job, without a switch", async () => {
    const { rig, guest, mirror } = await readOnlySource();
    await rig.until("BLOCK_JOB_READY");
    rig.graph.attach(rig.target, { name: "other job", uses: ["write-unchanged"], shares: ALL_PERMISSIONS });
    await rig.run(mirror.job.complete());
    const ended = await rig.run(mirror.job.done);
    expect(ended).toMatchObject({ outcome: "failed" });
    expect(mirror.switched).toBe(false);
    expect(guest.node).toBe(rig.source);
    expect(rig.target.info.readOnly).toBe(false);
    await rig.graph.closeAll();
  });
});

describe("a group: several disks are switched at one instant, or none", () => {
  test("a guest that writes a number to every disk in turn never finds a copy ahead of an earlier disk", async () => {
    const { rig, mirrors, guests, targets } = await openGroup(3);
    let number = 0;
    const stop = new AbortController();
    const writer = (async () => {
      while (!stop.signal.aborted) {
        number += 1;
        for (const guest of guests) {
          const bytes = Buffer.alloc(512);
          bytes.writeUInt32LE(number);
          await guest.write(0, [bytes]);
          await new Promise<void>((resolve) => {
            rig.clock.schedule(3, resolve);
          });
        }
      }
    })();
    while (!mirrors.every(isReady)) await rig.clock.advance(50);
    for (const { job } of mirrors) job.cancel();
    await rig.run(Promise.all(mirrors.map(({ job }) => job.done)));
    const cut = await Promise.all(targets.map(async (node) => (await content(rig, node)).readUInt32LE(0)));
    // One instant: disks in the order of writing differ by at most one, and never grow.
    for (let index = 1; index < cut.length; index += 1) {
      const [before = 0, after = 0] = [cut[index - 1], cut[index]];
      expect(before - after, `cut ${cut.join(", ")}`).toBeGreaterThanOrEqual(0);
      expect(before - after, `cut ${cut.join(", ")}`).toBeLessThanOrEqual(1);
    }
    stop.abort();
    await rig.run(writer);
    await rig.graph.closeAll();
  });

  test("completed, all guests are on the copies", async () => {
    const { rig, mirrors, guests, targets } = await openGroup(3);
    while (!mirrors.every(isReady)) await rig.clock.advance(50);
    await rig.run(Promise.all(mirrors.map(({ job }) => job.complete())));
    await rig.run(Promise.all(mirrors.map(({ job }) => job.done)));
    expect(guests.map(({ node }) => node)).toEqual(targets);
    for (const guest of guests) await guest.write(0, [Buffer.alloc(512, 7)]);
    await rig.graph.closeAll();
  });

  test("one that cannot be switched keeps all guests where they are, and they go on", async () => {
    const { rig, mirrors, guests, targets } = await openGroup(3);
    while (!mirrors.every(isReady)) await rig.clock.advance(50);
    // A user of the last copy whom the last guest does not bear.
    const [guest, target] = [guests.at(-1), targets.at(-1)];
    if (guest !== undefined) rig.graph.reclaim(guest, { uses: ["read", "write"], shares: ["read", "write"] });
    if (target !== undefined) {
      rig.graph.attach(target, { name: "other", uses: ["write-unchanged"], shares: ALL_PERMISSIONS });
    }
    await rig.run(Promise.all(mirrors.map(({ job }) => job.complete())));
    const ends = await rig.run(Promise.all(mirrors.map(({ job }) => job.done)));
    expect(ends.map(({ outcome }) => outcome)).not.toContain("completed");
    expect(guests.map(({ node }) => node.name)).toEqual(["disk0", "disk1", "disk2"]);
    expect(mirrors.map(({ switched }) => switched)).toEqual([false, false, false]);
    for (const each of guests) await rig.run(Promise.resolve(each.write(0, [Buffer.alloc(512, 7)])));
    for (const each of targets) expect((await content(rig, each))[0]).toBe(0);
    await rig.graph.closeAll();
  });
});
