import { backingChain, type BlockNode } from "@blockmirror/block-driver";
import type { Job } from "@blockmirror/blockjob";
import { describe, expect, test } from "vitest";
import { startStream, type StreamDetails, type StreamOptions } from "../src/index.ts";
import { refusal } from "./support/refusal.ts";
import { openChain, type Chain } from "./support/chain.ts";
import { KIB, MIB, openRig, seededRandom } from "./support/rig.ts";

const SIZE = 4 * MIB;

/** base <- overlay0 <- overlay1 <- overlay2, with data in each. */
async function threeOverlays(topReadOnly = false): Promise<Chain> {
  const chain = await openChain({ base: SIZE, overlays: [SIZE, SIZE, SIZE], topReadOnly });
  await chain.fill("base-memory", 0, SIZE / 2, 1);
  await chain.fill("overlay0", 100 * KIB, 300 * KIB, 2);
  await chain.fill("overlay1", 256 * KIB, 64 * KIB, 3);
  await chain.node("overlay1").writeZeroes(MIB, 128 * KIB, { unmap: true });
  if (!topReadOnly) await chain.fill("overlay2", 1_500_001, 4_321, 4);
  return chain;
}

function stream(chain: Chain, options: Partial<StreamOptions> = {}): Promise<Job<StreamDetails>> {
  const { graph, jobs, top: image } = chain;
  return chain.run(startStream({ id: "s0", graph, jobs, image, autoDismiss: false, ...options }));
}

const names = (node: BlockNode): readonly string[] => backingChain(node).map(({ name }) => name);

describe("a stream", () => {
  test("of everything: the image stands alone afterwards, and shows what it did", async () => {
    const chain = await threeOverlays();
    const guest = chain.guest();
    const before = await chain.content(chain.top);
    const job = await stream(chain);
    expect(job.snapshot()).toMatchObject({ type: "stream", length: SIZE });
    expect(await chain.run(job.done)).toEqual({ outcome: "completed" });
    expect(guest.node).toBe(chain.top);
    expect(names(chain.top)).toEqual(["overlay2"]);
    expect((await chain.content(chain.top)).equals(before)).toBe(true);
    expect(chain.events.map(({ event }) => event)).not.toContain("BLOCK_JOB_READY");
    // What is zero need not be stored.
    expect(job.snapshot().details?.bytesCopied).toBeLessThan(SIZE / 2 + 64 * KIB);
    await guest.write(0, [Buffer.alloc(512, 7)]);
    await chain.graph.closeAll();
  });

  test("down to a base: that stays below, recorded, and zeroes of the layers that go hide its data", async () => {
    const chain = await threeOverlays();
    const before = await chain.content(chain.top);
    const job = await stream(chain, { base: chain.base, backingFile: "base.raw" });
    await chain.run(job.done);
    expect(names(chain.top)).toEqual(["base", "overlay2"]);
    expect(chain.top.info.namedBacking).toEqual({ filename: "base.raw", format: "raw" });
    expect((await chain.content(chain.top)).equals(before)).toBe(true);
    // Only what the layers between hold was copied: not what is in the base.
    expect(job.snapshot().details?.bytesCopied).toBeLessThanOrEqual(384 * KIB);
    await chain.graph.closeAll();
  });

  test("down to a base that is longer than what goes, which ends within a cluster: the zeroes behind it stay", async () => {
    const chain = await openChain({ base: SIZE, overlays: [MIB + 512, SIZE] });
    await chain.fill("base-memory", 0, SIZE, 1);
    const before = await chain.content(chain.top);
    const job = await stream(chain, { base: chain.base, backingFile: "base.raw" });
    expect(await chain.run(job.done)).toEqual({ outcome: "completed" });
    expect(names(chain.top)).toEqual(["base", "overlay1"]);
    expect((await chain.content(chain.top)).equals(before)).toBe(true);
    await chain.graph.closeAll();
  });

  test("of a layer that others stand on, which is read-only again afterwards", async () => {
    const chain = await threeOverlays();
    const middle = chain.node("overlay1");
    await chain.graph.reopen(middle, { readOnly: true });
    const before = await chain.content(chain.top);
    const job = await stream(chain, { image: middle });
    expect(await chain.run(job.done)).toEqual({ outcome: "completed" });
    expect(names(chain.top)).toEqual(["overlay1", "overlay2"]);
    expect(middle.info.readOnly).toBe(true);
    expect((await chain.content(chain.top)).equals(before)).toBe(true);
    await chain.graph.closeAll();
  });

  const SEED = Number(process.env["BLOCKMIRROR_SEED"] ?? 20_140_401);
  test(`a guest that writes, zeroes and discards all the time never loses a byte (seed ${SEED})`, async () => {
    const random = seededRandom(SEED);
    const chain = await threeOverlays();
    const guest = chain.guest();
    const shown = await chain.content(chain.top);
    const job = await stream(chain, { base: chain.node("overlay0"), backingFile: "o", speed: 2 * MIB });
    for (let round = 0; round < 200 && job.snapshot().status !== "concluded"; round += 1) {
      const offset = Math.floor(random() * (SIZE - 40_000));
      const length = 1 + Math.floor(random() * 40_000);
      if (random() < 0.7) {
        const value = 10 + (round % 200);
        await chain.run(Promise.resolve(guest.write(offset, [Buffer.alloc(length, value)])));
        shown.fill(value, offset, offset + length);
      } else {
        await chain.run(Promise.resolve(guest.writeZeroes(offset, length, { unmap: random() < 0.5 })));
        shown.fill(0, offset, offset + length);
      }
      await chain.clock.advance(7);
    }
    expect(await chain.run(job.done)).toEqual({ outcome: "completed" });
    expect((await chain.content(chain.top)).equals(shown)).toBe(true);
    expect(names(chain.top)).toEqual(["base", "overlay0", "overlay2"]);
    await chain.graph.closeAll();
  });

  test("cancelled, the chain stays, and nothing that it shows has changed", async () => {
    const chain = await threeOverlays();
    const before = await chain.content(chain.top);
    const job = await stream(chain, { speed: 256 * KIB });
    await chain.clock.advance(1500);
    job.cancel();
    expect(await chain.run(job.done)).toEqual({ outcome: "cancelled" });
    expect(names(chain.top)).toEqual(["base", "overlay0", "overlay1", "overlay2"]);
    expect((await chain.content(chain.top)).equals(before)).toBe(true);
    expect(chain.graph.find("#stream-s0")).toBeUndefined();
    await chain.graph.closeAll();
  });

  test("paused, it does nothing; its speed is kept", async () => {
    const chain = await threeOverlays();
    const job = await stream(chain, { speed: MIB });
    job.pause();
    await chain.clock.advance(2000);
    expect(job.status).toBe("paused");
    const copied = job.snapshot().details?.bytesCopied;
    await chain.clock.advance(5000);
    expect(job.snapshot().details?.bytesCopied).toBe(copied);
    const began = chain.clock.now();
    job.resume();
    await chain.run(job.done);
    const seconds = (chain.clock.now() - began) / 1000;
    expect(seconds).toBeGreaterThan(0.5);
    expect(seconds).toBeLessThan(4);
    await chain.graph.closeAll();
  });

  test.each([
    ["report", "failed"],
    ["ignore", "failed"],
    ["stop", "completed"],
  ] as const)(
    "an error below under the policy %s: %s, and the image shows what it did",
    async (onError, outcome) => {
      const chain = await threeOverlays();
      const before = await chain.content(chain.top);
      chain.baseFaults.add({ operation: "read", nth: 1, times: 1, error: "EIO" });
      const job = await stream(chain, { onError });
      if (onError === "stop") {
        await chain.clock.advance(500);
        expect(job.snapshot()).toMatchObject({ status: "paused", ioStatus: "failed" });
        job.resume();
      }
      expect(await chain.run(job.done)).toMatchObject({ outcome });
      expect(names(chain.top)).toHaveLength(outcome === "failed" ? 4 : 1);
      expect((await chain.content(chain.top)).equals(before)).toBe(true);
      await chain.graph.closeAll();
    },
  );

  test("a drained section beside a guest that waits for its turn ends, whenever it begins", async () => {
    for (let delayMs = 0; delayMs < 30; delayMs += 1) {
      const rig = await openRig({ size: SIZE, latency: () => 2 });
      rig.fill("source", 0, SIZE, 7);
      await rig.graph.open({ driver: "memory", nodeName: "file", size: 0 });
      await rig.graph.create("qcow2", { file: "file", size: SIZE });
      const image = await rig.graph.open({ driver: "qcow2", file: "file", backing: "source" });
      const guest = rig.guest(image);
      const { graph, jobs } = rig;
      const job = await rig.run(startStream({ id: "s0", graph, jobs, image, autoDismiss: false }));
      await rig.clock.advance(delayMs);
      const write = Promise.resolve(guest.write(KIB, [Buffer.alloc(KIB, 1)]));
      const section = await rig.run(graph.drain(image));
      expect(image.inFlight, `after ${delayMs} ms`).toBe(0);
      const copied = job.snapshot().details?.bytesCopied;
      await rig.clock.advance(50);
      expect(job.snapshot().details?.bytesCopied, "and stays quiet").toBe(copied);
      section.end();
      await rig.run(write);
      expect(await rig.run(job.done)).toEqual({ outcome: "completed" });
      const bytes = Buffer.alloc(3 * KIB);
      await rig.run(Promise.resolve(guest.read(0, [bytes])));
      expect([bytes[0], bytes[KIB], bytes[2 * KIB]]).toEqual([7, 1, 7]);
      await graph.closeAll();
    }
  });

  test("refuses what is not below, what has no name, and an image with a job; nothing is left behind", async () => {
    const chain = await threeOverlays();
    const other = await chain.graph.open({ driver: "memory", nodeName: "other", size: SIZE });
    expect(await refusal(() => stream(chain, { base: other }))).toBe("EINVAL");
    expect(await refusal(() => stream(chain, { base: chain.base }))).toBe("EINVAL");
    expect([...chain.top.parents]).toEqual([]);
    const job = await stream(chain, { speed: KIB });
    await expect(stream(chain, { id: "s1" })).rejects.toThrow();
    job.cancel();
    await chain.run(job.done);
    await chain.graph.closeAll();
  });
});
