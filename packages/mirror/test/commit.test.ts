import { ALL_PERMISSIONS, backingChain } from "@blockmirror/block-driver";
import { describe, expect, test } from "vitest";
import { KIB, MIB, seededRandom } from "./support/rig.ts";
import { refusal } from "./support/refusal.ts";
import { openChain, type Chain } from "./support/chain.ts";

const SEED = Number(process.env["BLOCKMIRROR_SEED"] ?? 20_140_401);
const SIZE = 2 * MIB;

/** Data in every layer of base, middle and top, overlapping in part. */
async function twoOverlays(options: { readonly baseReadOnly?: boolean } = {}): Promise<Chain> {
  const chain = await openChain({ base: SIZE, overlays: [SIZE, SIZE], baseReadOnly: false, ...options });
  await chain.fill("base-memory", 0, SIZE, 1);
  await chain.fill("overlay0", 100 * KIB, 300 * KIB, 2);
  await chain.fill("overlay1", 256 * KIB, 64 * KIB, 3);
  await chain.fill("overlay1", 1_500_001, 4_321, 4);
  return chain;
}

describe("an active commit", () => {
  test("S31.1: completed, the base has what the top showed and its users are there; the layers above are gone", async () => {
    const chain = await openChain({ base: SIZE, overlays: [SIZE, SIZE] });
    await chain.fill("base-memory", 0, SIZE, 1);
    await chain.fill("overlay0", 100 * KIB, 300 * KIB, 2);
    await chain.fill("overlay1", 256 * KIB, 64 * KIB, 3);
    const guest = chain.guest();
    const before = await chain.content(chain.top);
    const commit = await chain.commit();
    expect(commit.job.snapshot().type).toBe("commit");
    expect(chain.base.info.readOnly).toBe(false);
    await chain.until("BLOCK_JOB_READY");
    await chain.run(Promise.resolve(guest.write(1_000_003, [Buffer.alloc(70_000, 9)])));
    before.fill(9, 1_000_003, 1_070_003);
    await chain.run(commit.job.complete());
    expect(await chain.run(commit.job.done)).toMatchObject({ outcome: "completed" });
    expect(commit.switched).toBe(true);
    expect(guest.node).toBe(chain.base);
    expect((await chain.content(chain.base)).equals(before)).toBe(true);
    expect(chain.graph.find("overlay1")).toBeUndefined();
    // A guest goes on writing to the base, and nothing of the job is left.
    await guest.write(0, [Buffer.alloc(512, 7)]);
    await chain.graph.close(chain.node("overlay0"));
    expect([...chain.base.parents]).toEqual([guest]);
    await chain.graph.closeAll();
  });

  test("S31.2: the base does not reach itself through a former overlay", async () => {
    const chain = await twoOverlays({ baseReadOnly: true });
    const guest = chain.guest();
    const commit = await chain.commit();
    await chain.until("BLOCK_JOB_READY");
    await chain.run(commit.job.complete());
    await chain.run(commit.job.done);
    expect(backingChain(guest.node).map(({ name }) => name)).toEqual(["base"]);
    await chain.graph.closeAll();
  });

  test("S31.3: cancelled after READY, the chain is as it was, the base holds what the top showed and is read-only again", async () => {
    const chain = await openChain({ base: SIZE, overlays: [SIZE] });
    await chain.fill("base-memory", 0, SIZE, 1);
    await chain.fill("overlay0", 4 * KIB, 90 * KIB, 2);
    const guest = chain.guest();
    const before = await chain.content(chain.top);
    const commit = await chain.commit();
    await chain.until("BLOCK_JOB_READY");
    commit.job.cancel();
    expect(await chain.run(commit.job.done)).toMatchObject({ outcome: "completed" });
    expect(commit.switched).toBe(false);
    expect(guest.node).toBe(chain.top);
    expect(chain.base.info.readOnly).toBe(true);
    expect((await chain.content(chain.base)).equals(before)).toBe(true);
    expect((await chain.content(chain.top)).equals(before)).toBe(true);
    expect(backingChain(chain.top).map(({ name }) => name)).toEqual(["base", "overlay0"]);
    await guest.write(0, [Buffer.alloc(512, 5)]);
    await chain.graph.closeAll();
  });

  test("into the middle of a chain, the base below stays untouched", async () => {
    const chain = await twoOverlays();
    const baseBefore = await chain.content(chain.base);
    const before = await chain.content(chain.top);
    const guest = chain.guest();
    const commit = await chain.commit({ base: chain.node("overlay0") });
    await chain.until("BLOCK_JOB_READY");
    await chain.run(commit.job.complete());
    await chain.run(commit.job.done);
    expect(guest.node.name).toBe("overlay0");
    expect((await chain.content(guest.node)).equals(before)).toBe(true);
    expect((await chain.content(chain.base)).equals(baseBefore)).toBe(true);
    await chain.graph.closeAll();
  });

  test("only what the layers above the base hold is written to it", async () => {
    const chain = await openChain({ base: SIZE, overlays: [SIZE] });
    await chain.fill("overlay0", 512 * KIB, 64 * KIB, 2);
    const commit = await chain.commit();
    await chain.until("BLOCK_JOB_READY");
    const writes = chain.baseFaults.log.filter(({ operation }) => operation === "write");
    expect(writes.map(({ offset, length }) => [offset, length])).toEqual([[512 * KIB, 64 * KIB]]);
    await chain.run(commit.job.complete());
    await chain.run(commit.job.done);
    await chain.graph.closeAll();
  });

  test("zeroes of an overlay hide data of the base, and arrive as zeroes", async () => {
    const chain = await openChain({ base: SIZE, overlays: [SIZE] });
    await chain.fill("base-memory", 0, SIZE, 1);
    const guest = chain.guest();
    await guest.writeZeroes(64 * KIB, 640 * KIB, { unmap: true });
    const before = await chain.content(chain.top);
    const commit = await chain.commit();
    await chain.until("BLOCK_JOB_READY");
    await chain.run(commit.job.complete());
    await chain.run(commit.job.done);
    expect((await chain.content(chain.base)).equals(before)).toBe(true);
    await chain.graph.closeAll();
  });
});

describe("lengths", () => {
  test("S30.4: a base that is shorter than the top is grown first", async () => {
    const chain = await openChain({ base: MIB, overlays: [SIZE] });
    await chain.fill("base-memory", 0, MIB, 1);
    await chain.fill("overlay0", SIZE - 100 * KIB, 100 * KIB, 2);
    const guest = chain.guest();
    const before = await chain.content(chain.top);
    const commit = await chain.commit();
    expect(chain.base.size).toBe(SIZE);
    await chain.until("BLOCK_JOB_READY");
    await chain.run(commit.job.complete());
    await chain.run(commit.job.done);
    expect(guest.node).toBe(chain.base);
    expect((await chain.content(chain.base)).equals(before)).toBe(true);
    await chain.graph.closeAll();
  });

  test("S30.4: a longer base keeps its length; users of the shorter top are not switched to it", async () => {
    const chain = await openChain({ base: SIZE, overlays: [MIB] });
    await chain.fill("base-memory", 0, SIZE, 1);
    await chain.fill("overlay0", 0, 64 * KIB, 2);
    const guest = chain.guest();
    const commit = await chain.commit();
    await chain.until("BLOCK_JOB_READY");
    expect(await refusal(() => chain.run(commit.job.complete()))).toBe("EINVAL");
    await chain.graph.detach(guest);
    await chain.run(commit.job.complete());
    expect(await chain.run(commit.job.done)).toMatchObject({ outcome: "completed" });
    const content = await chain.content(chain.base);
    expect([content.length, content[0], content[64 * KIB], content[SIZE - 1]]).toEqual([SIZE, 2, 1, 1]);
    await chain.graph.closeAll();
  });

  test("S33.1: length 0 is READY at once", async () => {
    const chain = await openChain({ base: 0, overlays: [0] });
    const commit = await chain.commit();
    await chain.until("BLOCK_JOB_READY");
    await chain.run(commit.job.complete());
    expect(await chain.run(commit.job.done)).toMatchObject({ outcome: "completed" });
    await chain.graph.closeAll();
  });
});

describe("refusals leave everything as it was", () => {
  test("S4.2: a base that is not below, a top with a job, and bad options", async () => {
    const chain = await openChain({ base: SIZE, overlays: [SIZE] });
    const stranger = await chain.graph.open({ driver: "memory", size: SIZE });
    expect(await refusal(() => chain.commit({ base: stranger }))).toBe("EINVAL");
    expect(await refusal(() => chain.commit({ base: chain.top }))).toBe("EINVAL");
    expect(await refusal(() => chain.commit({ granularity: 777 }))).toBe("EINVAL");
    const first = await chain.commit();
    expect(await refusal(() => chain.commit({ id: "c1" }))).toBe("EBUSY");
    first.job.cancel({ force: true });
    await chain.run(first.job.done);
    expect(chain.base.info.readOnly).toBe(true);
    await chain.graph.closeAll();
  });

  test("S30.1: a base that cannot be written refuses the job", async () => {
    const chain = await openChain({ base: SIZE, overlays: [SIZE] });
    const reader = chain.graph.attach(chain.node("base-fault"), {
      name: "scanner",
      uses: ["read"],
      shares: ["read"],
    });
    expect(await refusal(() => chain.commit())).toBe("EBUSY");
    expect(chain.base.info.readOnly).toBe(true);
    expect(chain.top.parents.size).toBe(0);
    await chain.graph.detach(reader);
    await chain.graph.closeAll();
  });

  test("S30.3, D18: what fails after the base was opened for writing and grown is undone", async () => {
    const chain = await openChain({ base: MIB, overlays: [SIZE] });
    const parents = [...chain.base.parents].map(({ shares }) => shares);
    await expect(chain.commit({ id: "not an id" })).rejects.toThrow();
    expect(chain.base.info.readOnly).toBe(true);
    expect(chain.base.size).toBe(MIB);
    expect([...chain.base.parents].map(({ shares }) => shares)).toEqual(parents);
    expect(chain.top.parents.size).toBe(0);
    expect(chain.top.dirtyBitmaps.size).toBe(0);
    await chain.graph.closeAll();
  });

  test("another overlay on the base, or on an image between, excludes the job; a new one is excluded by it", async () => {
    const chain = await twoOverlays({ baseReadOnly: true });
    const other = (backing: string) =>
      chain.graph
        .open({ driver: "memory", nodeName: "other-memory", size: 0 })
        .then(() => chain.graph.create("qcow2", { file: "other-memory", size: SIZE }))
        .then(() => chain.graph.open({ driver: "qcow2", nodeName: "other", file: "other-memory", backing }));
    for (const name of ["base", "overlay0"]) {
      const node = await other(name);
      expect(await refusal(() => chain.commit())).toBe("EBUSY");
      await chain.graph.close(node);
      await chain.graph.close(chain.node("other-memory"));
    }
    const commit = await chain.commit();
    for (const name of ["base", "overlay0"]) {
      expect(await refusal(() => other(name))).toBe("EBUSY");
      await chain.graph.close(chain.node("other-memory"));
    }
    commit.job.cancel({ force: true });
    await chain.run(commit.job.done);
    await other("base");
    await chain.graph.closeAll();
  });
});

test("S4.2: a layer that somebody else stands on, below one that was held already, leaves no claim behind", async () => {
  const chain = await openChain({ base: SIZE, overlays: [SIZE, SIZE, SIZE] });
  await chain.graph.open({ driver: "memory", nodeName: "other-memory", size: 0 });
  await chain.graph.create("qcow2", { file: "other-memory", size: SIZE });
  await chain.graph.open({ driver: "qcow2", nodeName: "other", file: "other-memory", backing: "overlay0" });
  const claims = (): unknown =>
    chain.graph
      .nodes()
      .map(({ parents }) => [...parents].map(({ parentName, uses, shares }) => [parentName, uses, shares]));
  const before = claims();
  expect(await refusal(() => chain.commit())).toBe("EBUSY");
  expect(claims()).toEqual(before);
  await chain.graph.closeAll();
});

describe("failures leave the chain usable", () => {
  test.each(["write", "flush", "writeZeroes"] as const)(
    "S30.3: an error of the base (%s) ends the job; the top shows what it showed, the base is read-only again",
    async (operation) => {
      const chain = await openChain({ base: SIZE, overlays: [SIZE] });
      await chain.fill("base-memory", 0, SIZE, 1);
      await chain.fill("overlay0", 64 * KIB, 512 * KIB, 2);
      const guest = chain.guest();
      await guest.writeZeroes(MIB, 128 * KIB);
      const before = await chain.content(chain.top);
      chain.baseFaults.add({ operation, error: "EIO", times: 0 });
      const commit = await chain.commit();
      expect(await chain.run(commit.job.done)).toMatchObject({ outcome: "failed" });
      chain.baseFaults.clear();
      expect(guest.node).toBe(chain.top);
      expect((await chain.content(chain.top)).equals(before)).toBe(true);
      expect(chain.base.info.readOnly).toBe(true);
      await guest.write(0, [Buffer.alloc(512, 5)]);
      chain.events.length = 0;
      const again = await chain.commit({ id: "c1" });
      await chain.until("BLOCK_JOB_READY");
      await chain.run(again.job.complete());
      expect(await chain.run(again.job.done)).toMatchObject({ outcome: "completed" });
      await chain.graph.closeAll();
    },
  );

  test("a force-cancelled job leaves the chain as it was", async () => {
    const chain = await twoOverlays({ baseReadOnly: true });
    const guest = chain.guest();
    const before = await chain.content(chain.top);
    const commit = await chain.commit({ speed: 64 * KIB });
    commit.job.cancel({ force: true });
    expect(await chain.run(commit.job.done)).toMatchObject({ outcome: "cancelled" });
    expect(guest.node).toBe(chain.top);
    expect((await chain.content(chain.top)).equals(before)).toBe(true);
    expect(chain.base.info.readOnly).toBe(true);
    await chain.graph.closeAll();
  });
});

test(`property: guests see the same disk before, during and after a commit (seed ${SEED})`, async () => {
  for (let round = 0; round < 12; round += 1) {
    const random = seededRandom(SEED + round);
    const at = (limit: number): number => Math.floor(random() * limit);
    const chain = await openChain({ base: [MIB, SIZE][at(2)] ?? SIZE, overlays: [SIZE, SIZE] });
    for (const name of ["base-memory", "overlay0", "overlay1"]) {
      const limit = chain.node(name).size || SIZE;
      for (let piece = 0; piece < 4; piece += 1) {
        const offset = at(Math.min(limit, SIZE) - 1);
        await chain.fill(name, offset, 1 + at(Math.min(limit, SIZE) - offset), 1 + at(255));
      }
    }
    const guest = chain.guest();
    const model = await chain.content(chain.top);
    const change = async (): Promise<void> => {
      const offset = at(SIZE - 1);
      const length = Math.min(1 + at(100_000), SIZE - offset);
      const value = at(256);
      if (value < 64) await guest.writeZeroes(offset, length);
      else await guest.write(offset, [Buffer.alloc(length, value)]);
      model.fill(value < 64 ? 0 : value, offset, offset + length);
    };
    const commit = await chain.commit({ granularity: 4096 << at(5) });
    for (let write = 0; write < 8; write += 1) await chain.run(change());
    await chain.until("BLOCK_JOB_READY");
    for (let write = 0; write < 4; write += 1) await chain.run(change());
    const switches = random() < 0.6;
    if (switches) await chain.run(commit.job.complete());
    else commit.job.cancel();
    expect(await chain.run(commit.job.done)).toMatchObject({ outcome: "completed" });
    expect(guest.node.name).toBe(switches ? "base" : "overlay1");
    expect((await chain.content(chain.base)).equals(model), `round ${round}`).toBe(true);
    if (!switches) expect((await chain.content(chain.top)).equals(model), `round ${round}`).toBe(true);
    await chain.run(change());
    const edge = chain.graph.attach(guest.node, { name: "end", uses: ["read"], shares: ALL_PERMISSIONS });
    const bytes = Buffer.alloc(SIZE);
    await edge.read(0, [bytes]);
    expect(bytes.equals(model), `round ${round} afterwards`).toBe(true);
    await chain.graph.closeAll();
  }
});
