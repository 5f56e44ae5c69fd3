import { backingChain, type BlockNode } from "@blockmirror/block-driver";
import { JobTransaction } from "@blockmirror/blockjob";
import { describe, expect, test } from "vitest";
import { refusal } from "./support/refusal.ts";
import { openChain, type Chain } from "./support/chain.ts";
import { KIB, MIB } from "./support/rig.ts";

const SIZE = 2 * MIB;

/** base <- overlay0 <- overlay1 <- overlay2, with data in each. */
async function threeOverlays(sizes: readonly number[] = [SIZE, SIZE, SIZE]): Promise<Chain> {
  const chain = await openChain({ base: SIZE, overlays: sizes });
  await chain.fill("base-memory", 0, SIZE, 1);
  await chain.fill("overlay0", 100 * KIB, 300 * KIB, 2);
  await chain.fill("overlay1", 256 * KIB, 64 * KIB, 3);
  await chain.fill("overlay2", 1_500_001, 4_321, 4);
  return chain;
}

/** Folds `overlay1` into the base unless told otherwise. */
function fold(chain: Chain, options: Parameters<Chain["commit"]>[0] = {}): ReturnType<Chain["commit"]> {
  return chain.commit({ top: chain.node("overlay1"), backingFile: "base.raw", ...options });
}

const names = (node: BlockNode): readonly string[] => backingChain(node).map(({ name }) => name);

describe("a commit of a layer that others stand on", () => {
  test("ends by itself, without READY: the overlay stands on the base, records it, and shows what it did", async () => {
    const chain = await threeOverlays();
    const guest = chain.guest();
    const before = await chain.content(chain.top);
    const shownBelow = await chain.content(chain.node("overlay1"));
    const commit = await fold(chain);
    expect(commit.job.snapshot().type).toBe("commit");
    expect(await chain.run(commit.job.done)).toMatchObject({ outcome: "completed" });
    expect(commit.switched).toBe(true);
    expect(chain.events.map(({ event }) => event)).not.toContain("BLOCK_JOB_READY");
    expect(guest.node).toBe(chain.top);
    expect(names(chain.top)).toEqual(["base", "overlay2"]);
    expect(chain.top.info.namedBacking).toEqual({ filename: "base.raw", format: "raw" });
    expect((await chain.content(chain.top)).equals(before)).toBe(true);
    expect((await chain.content(chain.base)).equals(shownBelow)).toBe(true);
    expect(chain.base.info.readOnly).toBe(true);
    expect(chain.graph.find("overlay1")).toBeUndefined();
    await guest.write(0, [Buffer.alloc(512, 7)]);
    await chain.graph.closeAll();
  });

  test("a guest writes to the live overlay all the time, and nothing of it goes to the base", async () => {
    const chain = await threeOverlays();
    const guest = chain.guest();
    const below = await chain.content(chain.node("overlay1"));
    const expected = await chain.content(chain.top);
    const commit = await fold(chain, { speed: MIB });
    for (let index = 0; index < 20; index += 1) {
      const at = index * 97_001;
      await chain.run(Promise.resolve(guest.write(at, [Buffer.alloc(9_000, 50 + index)])));
      expected.fill(50 + index, at, at + 9_000);
      await chain.clock.advance(20);
    }
    await chain.run(commit.job.done);
    expect((await chain.content(chain.top)).equals(expected)).toBe(true);
    expect((await chain.content(chain.base)).equals(below)).toBe(true);
    await chain.graph.closeAll();
  });

  test("into the layer right below, the base stays untouched", async () => {
    const chain = await threeOverlays();
    const [base, before] = [await chain.content(chain.base), await chain.content(chain.top)];
    const commit = await fold(chain, { base: chain.node("overlay0"), backingFile: "overlay0.qcow2" });
    await chain.run(commit.job.done);
    expect(names(chain.top)).toEqual(["base", "overlay0", "overlay2"]);
    expect(chain.top.info.namedBacking).toEqual({ filename: "overlay0.qcow2", format: "qcow2" });
    expect((await chain.content(chain.base)).equals(base)).toBe(true);
    expect((await chain.content(chain.top)).equals(before)).toBe(true);
    await chain.graph.closeAll();
  });

  test("the overlay can be opened again afterwards, over what it stands on now", async () => {
    const chain = await threeOverlays();
    const before = await chain.content(chain.top);
    const commit = await fold(chain);
    await chain.run(commit.job.done);
    await chain.graph.reopen(chain.top, { readOnly: true });
    expect((await chain.content(chain.top)).equals(before)).toBe(true);
    expect(names(chain.top)).toEqual(["base", "overlay2"]);
    await chain.graph.closeAll();
  });

  test("an overlay that is read-only records it, and is read-only again", async () => {
    const chain = await openChain({ base: SIZE, overlays: [SIZE, SIZE], topReadOnly: true });
    await chain.fill("overlay0", 64 * KIB, 64 * KIB, 2);
    const commit = await chain.commit({ top: chain.node("overlay0"), backingFile: "base.raw" });
    await chain.run(commit.job.done);
    expect(chain.top.info.readOnly).toBe(true);
    expect(chain.top.info.namedBacking?.filename).toBe("base.raw");
    expect(names(chain.top)).toEqual(["base", "overlay1"]);
    await chain.graph.closeAll();
  });

  test("cancelled, the chain is as it was, the base read-only, and every layer shows what it did", async () => {
    const chain = await threeOverlays();
    const before = await chain.content(chain.top);
    const commit = await fold(chain, { speed: 64 * KIB });
    await chain.clock.advance(1000);
    commit.job.cancel();
    expect(await chain.run(commit.job.done)).toMatchObject({ outcome: "cancelled" });
    expect(names(chain.top)).toEqual(["base", "overlay0", "overlay1", "overlay2"]);
    expect(chain.base.info.readOnly).toBe(true);
    expect((await chain.content(chain.top)).equals(before)).toBe(true);
    expect(chain.top.info.namedBacking).toBeUndefined();
    await chain.graph.closeAll();
  });

  test("an error while writing the base fails the job and leaves the chain; a second try succeeds", async () => {
    const chain = await threeOverlays();
    // Far from the rest, so that there is a second write.
    await chain.fill("overlay1", MIB, 64 * KIB, 5);
    const before = await chain.content(chain.top);
    chain.baseFaults.add({ operation: "write", nth: 2, times: 1, error: "EIO" });
    const commit = await fold(chain);
    expect(await chain.run(commit.job.done)).toMatchObject({ outcome: "failed" });
    expect(names(chain.top)).toEqual(["base", "overlay0", "overlay1", "overlay2"]);
    expect((await chain.content(chain.top)).equals(before)).toBe(true);
    const again = await fold(chain, { id: "c1" });
    await chain.run(again.job.done);
    expect(names(chain.top)).toEqual(["base", "overlay2"]);
    expect((await chain.content(chain.top)).equals(before)).toBe(true);
    await chain.graph.closeAll();
  });

  test("an overlay that cannot record the base fails the job, with the chain as it was", async () => {
    const chain = await threeOverlays();
    const before = await chain.content(chain.top);
    const commit = await fold(chain, { backingFile: "x".repeat(2000) });
    expect(await chain.run(commit.job.done)).toMatchObject({ outcome: "failed" });
    expect(names(chain.top)).toEqual(["base", "overlay0", "overlay1", "overlay2"]);
    expect((await chain.content(chain.top)).equals(before)).toBe(true);
    expect(chain.base.info.readOnly).toBe(true);
    await chain.graph.closeAll();
  });

  test("a shorter base is grown, and keeps the zeroes behind", async () => {
    const chain = await openChain({ base: MIB, overlays: [2 * MIB, 2 * MIB] });
    await chain.fill("base-memory", 0, MIB, 1);
    await chain.fill("overlay0", 1_500_000, 100_000, 2);
    const before = await chain.content(chain.top);
    const commit = await chain.commit({ top: chain.node("overlay0"), backingFile: "base.raw" });
    await chain.run(commit.job.done);
    expect(chain.base.size).toBe(2 * MIB);
    expect((await chain.content(chain.top)).equals(before)).toBe(true);
    await chain.graph.closeAll();
  });

  test("a longer base whose end would show in a longer overlay is refused, with nothing changed", async () => {
    const chain = await openChain({ base: 2 * MIB, overlays: [MIB, 2 * MIB] });
    await chain.fill("base-memory", 0, 2 * MIB, 1);
    expect(await refusal(() => chain.commit({ top: chain.node("overlay0"), backingFile: "base.raw" }))).toBe(
      "EINVAL",
    );
    expect(chain.base.info.readOnly).toBe(true);
    expect(names(chain.top)).toEqual(["base", "overlay0", "overlay1"]);
    await chain.graph.closeAll();
  });

  test("a longer base keeps its end, which an overlay no longer than the layer that goes does not show", async () => {
    for (const sizes of [
      [MIB, MIB],
      [MIB, MIB / 2],
    ]) {
      const chain = await openChain({ base: 2 * MIB, overlays: sizes });
      await chain.fill("base-memory", 0, 2 * MIB, 1);
      await chain.fill("overlay0", 64 * KIB, 64 * KIB, 2);
      const guest = chain.guest();
      const before = await chain.content(chain.top);
      const commit = await chain.commit({ top: chain.node("overlay0"), backingFile: "base.raw" });
      expect(await chain.run(commit.job.done)).toEqual({ outcome: "completed" });
      expect(names(chain.top)).toEqual(["base", "overlay1"]);
      expect(chain.graph.find("overlay0")).toBeUndefined();
      expect((await chain.content(chain.top)).equals(before)).toBe(true);
      expect((await chain.content(chain.base)).subarray(MIB).equals(Buffer.alloc(MIB, 1))).toBe(true);
      await guest.write(0, [Buffer.alloc(512, 7)]);
      await chain.graph.closeAll();
    }
  });

  test("a longer base: undone with another job of its transaction, the overlays stand where they stood", async () => {
    const chain = await openChain({ base: 2 * MIB, overlays: [MIB, MIB] });
    await chain.fill("overlay0", 64 * KIB, 64 * KIB, 2);
    const before = await chain.content(chain.top);
    const transaction = new JobTransaction();
    const commit = await chain.commit({
      top: chain.node("overlay0"),
      backingFile: "base.raw",
      transaction,
      speed: 16 * KIB,
    });
    const other = chain.jobs.create(
      {
        type: "failing",
        run: () => Promise.resolve(),
        prepare: () => {
          throw new Error("not today");
        },
      },
      { id: "other", transaction },
    );
    other.start();
    expect(await chain.run(commit.job.done)).toEqual({ outcome: "cancelled" });
    expect(names(chain.top)).toEqual(["base", "overlay0", "overlay1"]);
    expect(chain.top.info.namedBacking).toBeUndefined();
    expect((await chain.content(chain.top)).equals(before)).toBe(true);
    await chain.graph.closeAll();
  });

  test("a base without a file name needs one to be recorded", async () => {
    const chain = await threeOverlays();
    expect(await refusal(() => chain.commit({ top: chain.node("overlay1") }))).toBe("EINVAL");
    expect(chain.base.info.readOnly).toBe(true);
    expect(await refusal(() => chain.commit({ backingFile: "base.raw" }))).toBe("EINVAL");
    await chain.graph.closeAll();
  });

  test("paused, nothing is written; without automatic finalize, the chain waits for the word", async () => {
    const chain = await threeOverlays();
    const commit = await fold(chain, { autoFinalize: false });
    await chain.until("BLOCK_JOB_PENDING");
    expect(names(chain.top)).toEqual(["base", "overlay0", "overlay1", "overlay2"]);
    commit.job.finalize();
    await chain.run(commit.job.done);
    expect(names(chain.top)).toEqual(["base", "overlay2"]);
    await chain.graph.closeAll();
  });
});
