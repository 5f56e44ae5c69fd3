import { rmSync, writeFileSync } from "node:fs";
import { lacksPeers, run } from "@blockmirror/peers";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startMirror } from "../src/index.ts";
import { Images, SIZE } from "./support/images.ts";
import { KIB, MIB, openRig } from "./support/rig.ts";

let images: Images;

beforeEach(() => {
  images = new Images();
});

afterEach(async () => {
  await images.close();
  rmSync(images.directory, { recursive: true, force: true });
});

/** A raw base and a qcow2 overlay that holds some of it anew, one range of that as zeroes. */
async function makeChain(clusterSize = 64 * KIB): Promise<void> {
  writeFileSync(images.path("base.raw"), Buffer.alloc(SIZE, 0xbb));
  await images.create("top.qcow2", { backingFile: "base.raw", backingFormat: "raw", clusterSize });
  const top = await images.open("top.qcow2");
  await images.fill(top, [
    [0, 1000, 1],
    [3 * MIB + 100, 200_000, 2],
  ]);
  const edge = images.graph.attach(top, { name: "zero", uses: ["write"], shares: ["read"] });
  await edge.writeZeroes(5 * MIB, MIB, { unmap: true });
  await images.graph.detach(edge);
  await images.graph.close(top);
}

describe.skipIf(lacksPeers("qemu-img"))("sync mode top (S11.1)", () => {
  it.each([64 * KIB, 4 * KIB, 2 * MIB])(
    "copies what the top layer holds, zeroes included, and nothing else; clusters of %i",
    async (clusterSize) => {
      await makeChain(clusterSize);
      await images.create("copy.qcow2", { backingFile: "base.raw", backingFormat: "raw", clusterSize });
      const source = await images.open("top.qcow2", { readOnly: true });
      // As after a copy to another machine: the base is named, and not open.
      const target = await images.open("copy.qcow2", { backing: null });
      const { job } = await images.copy(source, target, { sync: "top", granularity: 64 * KIB });
      expect(job.snapshot().details?.bytesCopied).toBeLessThan(3 * MIB + 2 * clusterSize);
      await images.close();
      await run("qemu-img", ["compare", images.path("top.qcow2"), images.path("copy.qcow2")]);
      await run("qemu-img", ["check", images.path("copy.qcow2")]);
    },
  );

  it("follows writes of guests that fill a cluster of the target only in part", async () => {
    await makeChain(256 * KIB);
    await images.create("copy.qcow2", {
      backingFile: "base.raw",
      backingFormat: "raw",
      clusterSize: 256 * KIB,
    });
    const source = await images.open("top.qcow2");
    const target = await images.open("copy.qcow2", { backing: null });
    const guest = images.graph.attach(source, {
      name: "guest",
      uses: ["read", "write"],
      shares: ["read", "write", "write-unchanged"],
    });
    const mirror = await startMirror({
      id: "m0",
      graph: images.graph,
      jobs: images.jobs,
      source,
      target,
      autoDismiss: false,
      sync: "top",
      granularity: 64 * KIB,
      copyMode: "write-blocking",
    });
    // A chunk never is smaller than a cluster that the target could not fill by itself (S9.1).
    expect(mirror.job.snapshot().details?.granularity).toBe(256 * KIB);
    await guest.write(7 * MIB + 10_000, [Buffer.alloc(5000, 9)]);
    await guest.write(6 * MIB - 10_000, [Buffer.alloc(MIB, 8)]);
    await new Promise<void>((resolve) => {
      images.jobs.subscribe(({ event }) => {
        if (event === "BLOCK_JOB_READY") resolve();
      });
      if (mirror.job.status === "ready") resolve();
    });
    mirror.job.cancel();
    expect(await mirror.job.done).toEqual({ outcome: "completed" });
    await images.graph.detach(guest);
    await images.close();
    await run("qemu-img", ["compare", images.path("top.qcow2"), images.path("copy.qcow2")]);
  });

  it("is full for a source without a backing image", async () => {
    await images.create("alone.qcow2");
    await images.create("copy.qcow2");
    const source = await images.open("alone.qcow2");
    await images.fill(source, [[MIB, 70_000, 4]]);
    await images.copy(source, await images.open("copy.qcow2"), { sync: "top" });
    await images.close();
    await run("qemu-img", ["compare", images.path("alone.qcow2"), images.path("copy.qcow2")]);
  });
});

describe.skipIf(lacksPeers("qemu-img"))("sync mode full between formats", () => {
  it("copies a chain into one qcow2 image that takes no more space than the data", async () => {
    await makeChain();
    await images.create("copy.qcow2");
    await images.copy(
      await images.open("top.qcow2", { readOnly: true }),
      await images.open("copy.qcow2"),
      {},
    );
    await images.close();
    await run("qemu-img", ["compare", images.path("top.qcow2"), images.path("copy.qcow2")]);
    await run("qemu-img", ["check", images.path("copy.qcow2")]);
  });

  it("overwrites stale content where the source has holes", async () => {
    await images.create("source.qcow2");
    writeFileSync(images.path("copy.raw"), Buffer.alloc(SIZE, 0xee));
    await images.copy(await images.open("source.qcow2"), await images.open("copy.raw"), {});
    await images.close();
    await run("qemu-img", ["compare", images.path("source.qcow2"), images.path("copy.raw")]);
  });
});

describe("sync mode bitmap", () => {
  it("brings a target up to date that was equal when the bitmap began, and leaves the bitmap alone", async () => {
    const rig = await openRig({ size: MIB });
    const bitmap = rig.source.createDirtyBitmap({ name: "since", granularity: 4 * KIB });
    rig.fill("source", 0, MIB, 1);
    rig.fill("target", 0, MIB, 1);
    const guest = rig.guest();
    await guest.write(100_000, [Buffer.alloc(10, 2)]);
    await guest.write(900_000, [Buffer.alloc(50_000, 3)]);
    const dirty = bitmap.dirtyBytes;
    const { job } = await rig.mirror({ sync: "bitmap", bitmap: "since", granularity: 64 * KIB });
    await rig.until("BLOCK_JOB_READY");
    expect(rig.content("target").equals(rig.content("source"))).toBe(true);
    expect(job.snapshot().details?.bytesCopied).toBe(3 * 64 * KIB);
    expect(bitmap.dirtyBytes).toBe(dirty);
    job.cancel({ force: true });
    await rig.run(job.done);
  });

  it("refuses a bitmap that is not there, none, or one for another mode", async () => {
    const rig = await openRig({ size: MIB });
    rig.source.createDirtyBitmap({ name: "other" });
    await expect(rig.mirror({ sync: "bitmap", bitmap: "since" })).rejects.toThrow("it has other");
    await expect(rig.mirror({ sync: "bitmap" })).rejects.toMatchObject({ code: "EINVAL" });
    await expect(rig.mirror({ bitmap: "other" })).rejects.toMatchObject({ code: "EINVAL" });
    expect(rig.jobs.list()).toEqual([]);
  });
});

describe("a target that is larger than the source", () => {
  it.each([
    ["zero", 0],
    ["leave", 0xee],
  ] as const)("is accepted on request: %s", async (largerTarget, tail) => {
    const rig = await openRig({ size: MIB - 100, targetSize: 2 * MIB });
    rig.fill("source", 0, MIB - 100, 1);
    rig.fill("target", 0, 2 * MIB, 0xee);
    const { job } = await rig.mirror({ largerTarget });
    await rig.until("BLOCK_JOB_READY");
    const target = rig.content("target");
    expect(target.subarray(0, MIB - 100).equals(rig.content("source"))).toBe(true);
    expect(target.subarray(MIB - 100).every((byte) => byte === tail)).toBe(true);
    job.cancel({ force: true });
    await rig.run(job.done);
  });

  it("cannot be switched to while guests would see another size; without guests it can", async () => {
    const rig = await openRig({ size: MIB, targetSize: 2 * MIB });
    const guest = rig.guest();
    const { job } = await rig.mirror({ largerTarget: "leave" });
    await rig.until("BLOCK_JOB_READY");
    await expect(job.complete()).rejects.toMatchObject({ code: "EINVAL" });
    expect(job.status).toBe("ready");
    await rig.graph.detach(guest);
    await job.complete();
    expect(await rig.run(job.done)).toEqual({ outcome: "completed" });
  });
});
