import { rmSync, writeFileSync } from "node:fs";
import { lacksPeers, run } from "@blockmirror/peers";
import { backingChain, BlockError, type BlockEdge, type BlockNode } from "@blockmirror/block-driver";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Images } from "./support/images.ts";
import type { MirrorTuning } from "../src/index.ts";
import { KIB, MIB } from "./support/rig.ts";

let images: Images;

beforeEach(() => {
  images = new Images();
});

afterEach(async () => {
  await images.close();
  rmSync(images.directory, { recursive: true, force: true });
});

const BACKED = { backingFile: "base.raw", backingFormat: "raw" };

/** An overlay with data of its own on a base full of data, and an empty image that names the same base. */
async function overlayAndCopy(): Promise<{ readonly source: BlockNode; readonly target: BlockNode }> {
  await images.graph.create("file", { filename: images.path("base.raw"), size: 8 * MIB });
  const base = await images.open("base.raw");
  await images.fill(base, [[0, 8 * MIB, 1]]);
  await images.graph.close(base);
  for (const name of ["top.qcow2", "copy.qcow2"]) await images.create(name, BACKED);
  const source = await images.open("top.qcow2");
  await images.fill(source, [[100 * KIB, 300 * KIB, 2]]);
  return { source, target: await images.open("copy.qcow2", { backing: null }) };
}

function guestOf(node: BlockNode): BlockEdge {
  return images.graph.attach(node, { name: "guest", uses: ["read", "write"], shares: ["read"] });
}

async function content(edge: BlockEdge): Promise<Buffer> {
  const bytes = Buffer.alloc(8 * MIB);
  await edge.read(0, [bytes]);
  return bytes;
}

function chainLength(node: BlockNode): number {
  return backingChain(node).length;
}

describe("what the target stands on afterwards", () => {
  it.each([
    ["open-chain", "top"],
    ["source-chain", "top"],
  ] as const)("%s, sync %s: the guest finds on the target all that it had", async (backingMode, sync) => {
    const { source, target } = await overlayAndCopy();
    const guest = guestOf(source);
    const before = await content(guest);
    const mirror = await images.ready(source, target, { sync, backingMode });
    expect(chainLength(target)).toBe(backingMode === "source-chain" ? 2 : 1);
    await guest.write(5 * MIB, [Buffer.alloc(KIB, 9)]);
    before.fill(9, 5 * MIB, 5 * MIB + KIB);
    await mirror.job.complete();
    expect(await mirror.job.done).toEqual({ outcome: "completed" });
    expect(guest.node).toBe(target);
    expect(chainLength(target)).toBe(2);
    expect((await content(guest)).equals(before)).toBe(true);
    if (backingMode === "source-chain") {
      expect(target.child("backing")?.node).toBe(source.child("backing")?.node);
    }
    await guest.write(0, [Buffer.alloc(KIB, 7)]);
  });

  it("leave: the target stays on nothing", async () => {
    const { source, target } = await overlayAndCopy();
    const mirror = await images.ready(source, target, { sync: "top" });
    await mirror.job.complete();
    await mirror.job.done;
    expect(chainLength(target)).toBe(1);
  });

  it("source-chain holds for a copy that nobody is switched to, open-chain does not", async () => {
    for (const [backingMode, expected] of [
      ["open-chain", 1],
      ["source-chain", 2],
    ] as const) {
      const { source, target } = await overlayAndCopy();
      await images.copy(source, target, { sync: "top", backingMode });
      expect(chainLength(target)).toBe(expected);
      await images.close();
      rmSync(images.directory, { recursive: true, force: true });
      images = new Images();
    }
  });

  it("S27.2: a backing file that cannot be opened refuses the verb, and the job goes on", async () => {
    const { source, target } = await overlayAndCopy();
    const guest = guestOf(source);
    const mirror = await images.ready(source, target, { sync: "top", backingMode: "open-chain" });
    rmSync(images.path("base.raw"));
    await expect(mirror.job.complete()).rejects.toThrow(/base\.raw/u);
    expect(mirror.job.snapshot().status).toBe("ready");
    expect(guest.node.name).not.toBe(target.name);
    await guest.write(0, [Buffer.alloc(KIB, 5)]);
    await images.graph.create("file", { filename: images.path("base.raw"), size: 8 * MIB });
    await mirror.job.complete();
    expect(await mirror.job.done).toEqual({ outcome: "completed" });
    expect(guest.node).toBe(target);
    expect(chainLength(target)).toBe(2);
  });

  it("S27.1, D6: a job that is not READY opens nothing", async () => {
    const { source, target } = await overlayAndCopy();
    const mirror = await images.ready(source, target, { sync: "top", backingMode: "open-chain" });
    mirror.job.pause();
    mirror.job.cancel({ force: true });
    await expect(mirror.job.complete()).rejects.toThrow();
    await mirror.job.done;
    expect(chainLength(target)).toBe(1);
  });

  it("refuses source-chain with sync bitmap, whose target stands on what it was equal with", async () => {
    const { source, target } = await overlayAndCopy();
    source.createDirtyBitmap({ name: "changed", granularity: 64 * KIB });
    const tuning = { sync: "bitmap", bitmap: "changed", backingMode: "source-chain" } as const;
    await expect(images.ready(source, target, tuning)).rejects.toThrow(/sync full, top and none/u);
    expect([...source.parents]).toEqual([]);
  });

  it("refuses a target whose format knows no backing images", async () => {
    const { source } = await overlayAndCopy();
    await images.graph.create("file", { filename: images.path("copy.raw"), size: 8 * MIB });
    const raw = await images.open("copy.raw");
    const refused = images.ready(source, raw, { sync: "top", backingMode: "source-chain" });
    await expect(refused).rejects.toThrow(BlockError);
    await expect(refused).rejects.toThrow(/cannot stand on/u);
  });
});

/** What qemu-img finds in an image, with whatever it records: nothing of this process is asked. */
async function mustHold(name: string, expected: Buffer): Promise<void> {
  await images.close();
  writeFileSync(images.path("expected.raw"), expected);
  await run("qemu-img", [
    "compare",
    "-f",
    "raw",
    "-F",
    "qcow2",
    images.path("expected.raw"),
    images.path(name),
  ]);
  await run("qemu-img", ["check", "-q", images.path(name)]);
}

async function recordedBacking(name: string): Promise<string | undefined> {
  const { stdout } = await run("qemu-img", ["info", "--output=json", images.path(name)]);
  return JSON.parse(stdout)["backing-filename"];
}

/** Mirrors, writes as a guest in pieces smaller than a cluster, and completes. @returns what the guest finds then. */
async function completed(source: BlockNode, target: BlockNode, tuning: MirrorTuning): Promise<Buffer> {
  const guest = guestOf(source);
  const expected = await content(guest);
  const mirror = await images.ready(source, target, tuning);
  for (const [offset, value] of [
    [KIB, 8],
    [5 * MIB + 3 * KIB, 9],
  ] as const) {
    await guest.write(offset, [Buffer.alloc(KIB, value)]);
    expected.fill(value, offset, offset + KIB);
  }
  await guest.writeZeroes(6 * MIB, 200 * KIB, { unmap: true });
  expected.fill(0, 6 * MIB, 6 * MIB + 200 * KIB);
  await mirror.job.complete();
  expect(await mirror.job.done).toEqual({ outcome: "completed" });
  expect(guest.node).toBe(target);
  expect((await content(guest)).equals(expected)).toBe(true);
  await guest.write(7 * MIB + KIB, [Buffer.alloc(KIB, 3)]);
  expected.fill(3, 7 * MIB + KIB, 7 * MIB + 2 * KIB);
  await guest.flush();
  return expected;
}

describe.skipIf(lacksPeers("qemu-img"))("source-chain, as qemu-img finds the target afterwards", () => {
  it.each(["background", "write-blocking"] as const)(
    "sync none, %s: the target holds what was written, and stands on the source",
    async (copyMode) => {
      const { source } = await overlayAndCopy();
      await images.create("delta.qcow2", { clusterSize: 64 * KIB });
      const target = await images.open("delta.qcow2");
      const tuning = { sync: "none", backingMode: "source-chain", copyMode, granularity: 512 } as const;
      const expected = await completed(source, target, tuning);
      expect(target.child("backing")?.node).toBe(source);
      await mustHold("delta.qcow2", expected);
      expect(await recordedBacking("delta.qcow2")).toBe(images.path("top.qcow2"));
    },
  );

  it("sync none, replacing a node below the source: the target stands on that node, below the filter", async () => {
    await images.create("disk.qcow2");
    const below = await images.open("disk.qcow2", { nodeName: "disk" });
    await images.fill(below, [[0, 8 * MIB, 5]]);
    const source = await images.graph.open({ driver: "fault", nodeName: "above", file: "disk" });
    await images.create("delta.qcow2");
    const target = await images.open("delta.qcow2");
    const guest = guestOf(source);
    const mirror = await images.ready(source, target, { sync: "none", backingMode: "source-chain" }, below);
    await guest.write(0, [Buffer.alloc(KIB, 6)]);
    await mirror.job.complete();
    expect(await mirror.job.done).toEqual({ outcome: "completed" });
    expect(source.child("filtered")?.node).toBe(target);
    expect(target.child("backing")?.node).toBe(below);
    const expected = Buffer.alloc(8 * MIB, 5).fill(6, 0, KIB);
    expect((await content(guest)).equals(expected)).toBe(true);
    await mustHold("delta.qcow2", expected);
  });

  it("sync none, cancelled: nobody was led to the target, which stays on nothing", async () => {
    const { source } = await overlayAndCopy();
    await images.create("delta.qcow2");
    const target = await images.open("delta.qcow2");
    const guest = guestOf(source);
    const mirror = await images.ready(source, target, { sync: "none", backingMode: "source-chain" });
    await guest.write(0, [Buffer.alloc(KIB, 6)]);
    mirror.job.cancel();
    expect(await mirror.job.done).toEqual({ outcome: "completed" });
    expect(chainLength(target)).toBe(1);
    await guest.write(0, [Buffer.alloc(KIB, 7)]);
    await images.close();
    expect(await recordedBacking("delta.qcow2")).toBeUndefined();
  });

  it.each([
    ["open", {}],
    ["not open", { backing: null }],
  ] as const)("sync full: a target whose backing file is %s needs it no more", async (_how, options) => {
    const { source, target } = await overlayAndCopy();
    await images.graph.close(target);
    const backed = await images.open("copy.qcow2", options);
    await images.fill(source, [[2 * MIB, 3 * MIB, 0]]);
    const expected = await completed(source, backed, {
      sync: "full",
      backingMode: "source-chain",
      granularity: 4 * KIB,
      detectZeroes: true,
    });
    expect(chainLength(backed)).toBe(1);
    await images.close();
    rmSync(images.path("base.raw"));
    await mustHold("copy.qcow2", expected);
    expect(await recordedBacking("copy.qcow2")).toBeUndefined();
  });

  it("sync full, cancelled after READY: the copy is kept, and needs nothing either", async () => {
    const { source, target } = await overlayAndCopy();
    const guest = guestOf(source);
    const expected = await content(guest);
    await images.copy(source, target, { sync: "full", backingMode: "source-chain" });
    await images.close();
    rmSync(images.path("base.raw"));
    await mustHold("copy.qcow2", expected);
  });

  it.each([
    ["names nothing", {}, {}],
    ["names another image", { backingFile: "other.raw", backingFormat: "raw" }, {}],
    [
      "names another image, which is not open",
      { backingFile: "other.raw", backingFormat: "raw" },
      { backing: null },
    ],
  ] as const)(
    "sync top: a target with larger clusters that %s shows the source's base, and records it",
    async (_what, create, open) => {
      writeFileSync(images.path("base.raw"), Buffer.alloc(8 * MIB, 1));
      writeFileSync(images.path("other.raw"), Buffer.alloc(8 * MIB, 0xee));
      await images.create("top.qcow2", { ...BACKED, clusterSize: 4 * KIB });
      await images.create("copy.qcow2", { ...create, clusterSize: 256 * KIB });
      const source = await images.open("top.qcow2");
      await images.fill(source, [[100 * KIB, 4 * KIB, 2]]);
      // Zeroes that hide the base, in less than a cluster of the target and in more.
      const zero = images.graph.attach(source, { name: "zero", uses: ["write"], shares: ["read"] });
      await zero.writeZeroes(2 * MIB + 4 * KIB, 8 * KIB, { unmap: true });
      await zero.writeZeroes(3 * MIB, MIB, { unmap: true });
      await images.graph.detach(zero);
      const target = await images.open("copy.qcow2", open);
      const expected = await completed(source, target, {
        sync: "top",
        backingMode: "source-chain",
        granularity: 4 * KIB,
        // Only true while it stands on nothing.
        targetIsZero: true,
      });
      expect(expected[3 * MIB]).toBe(0);
      await mustHold("copy.qcow2", expected);
      expect(await recordedBacking("copy.qcow2")).toBe(images.path("base.raw"));
    },
  );

  it("sync top: a name that leads to the source's base already stays as it is", async () => {
    const { source, target } = await overlayAndCopy();
    const expected = await completed(source, target, { sync: "top", backingMode: "source-chain" });
    await mustHold("copy.qcow2", expected);
    expect(await recordedBacking("copy.qcow2")).toBe("base.raw");
  });
});

describe("source-chain, when the job does not succeed", () => {
  it.each(["full", "top", "none"] as const)(
    "sync %s, thrown away: the target stands on what it did",
    async (sync) => {
      const { source, target } = await overlayAndCopy();
      await images.graph.close(target);
      const backed = await images.open("copy.qcow2");
      const stoodOn = backed.child("backing")?.node;
      const mirror = await images.ready(source, backed, { sync, backingMode: "source-chain" });
      mirror.job.cancel({ force: true });
      expect(await mirror.job.done).toEqual({ outcome: "cancelled" });
      expect(stoodOn?.isOpen).toBe(true);
      expect(backed.child("backing")?.node).toBe(stoodOn);
      expect(backed.info.namedBacking).toEqual({ filename: "base.raw", format: "raw" });
      expect(images.graph.nodes().filter(({ parents }) => parents.size === 0)).toEqual([source, backed]);
    },
  );

  it("a refusal leaves the target on what it stood on", async () => {
    const { source, target } = await overlayAndCopy();
    images.graph.attach(target, { name: "other writer", uses: ["write"], shares: ["read", "write"] });
    const refused = images.ready(source, target, { sync: "top", backingMode: "source-chain" });
    await expect(refused).rejects.toThrow(/other writer/u);
    expect(chainLength(target)).toBe(1);
    expect([...source.parents]).toEqual([]);
  });

  it("sync none refuses a target that the source stands on: it would stand on itself", async () => {
    const { source } = await overlayAndCopy();
    await images.create("over.qcow2", { backingFile: "top.qcow2", backingFormat: "qcow2" });
    await images.graph.close(source);
    const over = await images.open("over.qcow2");
    const below = over.child("backing")?.node;
    if (below === undefined) throw new Error("no chain");
    await images.graph.reopen(below, { readOnly: false });
    const refused = images.ready(over, below, { sync: "none", backingMode: "source-chain" });
    await expect(refused).rejects.toThrow(/cannot stand on/u);
  });
});
