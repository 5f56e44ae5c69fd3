import { rmSync } from "node:fs";
import { backingChain, BlockError, type BlockEdge, type BlockNode } from "@blockmirror/block-driver";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Images } from "./support/images.ts";
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
    expect(chainLength(target)).toBe(1);
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

  it("refuses source-chain with sync none, which copies nothing of the source", async () => {
    const { source, target } = await overlayAndCopy();
    const refused = images.ready(source, target, { sync: "none", backingMode: "source-chain" });
    await expect(refused).rejects.toThrow(/source-chain is for sync top and full/u);
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
