import type { BlockEdge, FaultController } from "@blockmirror/block-driver";
import type { Job } from "@blockmirror/blockjob";
import { describe, expect, test } from "vitest";
import { startStream } from "../src/index.ts";
import { openChain, type Chain } from "./support/chain.ts";
import { KIB, MIB, openRig } from "./support/rig.ts";

/** Devices that never answer, below the jobs that change a chain; and a mirror whose source does not. */

const SIZE = 4 * MIB;
/** A forced cancel ends a job within this. */
const END_MS = 5000;

async function twoOverlays(): Promise<Chain> {
  const chain = await openChain({ base: SIZE, overlays: [SIZE, SIZE] });
  await chain.fill("base-memory", 0, SIZE / 2, 1);
  await chain.fill("overlay0", 0, 256 * KIB, 2);
  await chain.fill("overlay1", 128 * KIB, 256 * KIB, 3);
  return chain;
}

async function stream(chain: Chain): Promise<Job> {
  const { graph, jobs, top: image } = chain;
  return chain.run(startStream({ id: "c0", graph, jobs, image, autoDismiss: false }));
}

async function commit(chain: Chain, top: string, backingFile?: string): Promise<Job> {
  const options = { top: chain.node(top), ...(backingFile !== undefined && { backingFile }) };
  return (await chain.commit(options)).job;
}

interface Case {
  readonly start: (chain: Chain) => Promise<Job>;
  readonly faults: (chain: Chain) => FaultController;
  readonly operation: "read" | "write";
}

const CASES: Readonly<Record<string, Case>> = {
  "a commit whose base takes no write": {
    start: (chain) => commit(chain, "overlay1"),
    faults: ({ baseFaults }) => baseFaults,
    operation: "write",
  },
  "a commit whose top gives nothing": {
    start: (chain) => commit(chain, "overlay1"),
    faults: ({ topFaults }) => topFaults,
    operation: "read",
  },
  "a commit of a layer between, whose base takes no write": {
    start: (chain) => commit(chain, "overlay0", "base.raw"),
    faults: ({ baseFaults }) => baseFaults,
    operation: "write",
  },
  "a stream whose base gives nothing": {
    start: stream,
    faults: ({ baseFaults }) => baseFaults,
    operation: "read",
  },
  "a stream whose image takes no write": {
    start: stream,
    faults: ({ topFaults }) => topFaults,
    operation: "write",
  },
};

async function shows(chain: Chain, guest: BlockEdge): Promise<Buffer> {
  const bytes = Buffer.alloc(SIZE);
  await chain.run(Promise.resolve(guest.read(0, [bytes])));
  return bytes;
}

describe.each(Object.entries(CASES))("%s", (_what, { start, faults, operation }) => {
  test("ends within seconds of a forced cancel, and late answers do no harm", async () => {
    const chain = await twoOverlays();
    const controller = faults(chain);
    const guest = chain.guest();
    const expected = await shows(chain, guest);
    controller.add({ operation, hold: true });
    const job = await start(chain);
    await chain.clock.advance(300);
    expect(controller.held).toHaveLength(1);
    job.cancel({ force: true });
    // A guest writes where the job may be at work, and elsewhere.
    const over = Promise.resolve(guest.write(64 * KIB, [Buffer.alloc(128 * KIB, 8)]));
    expected.fill(8, 64 * KIB, 192 * KIB);
    expect(await chain.run(job.done, END_MS)).toMatchObject({
      outcome: "cancelled",
      cleanupError: { code: "ETIMEDOUT" },
    });
    expect(job.snapshot().status).toBe("concluded");
    const told = chain.events.length;
    await chain.run(Promise.resolve(guest.write(3 * MIB, [Buffer.alloc(KIB, 9)])), 100);
    expected.fill(9, 3 * MIB, 3 * MIB + KIB);
    // What the hung device may still change is nobody else's.
    await expect(start(chain)).rejects.toThrow();
    controller.release();
    await chain.run(over);
    await chain.clock.advance(200);
    expect((await shows(chain, guest)).equals(expected)).toBe(true);
    expect(chain.events).toHaveLength(told);
    expect(chain.graph.nodes().filter(({ name }) => name.startsWith("#"))).toEqual([]);
    expect(chain.base.info.readOnly).toBe(true);
    for (const node of chain.graph.nodes()) {
      for (const { parentName } of node.parents) expect(parentName).toMatch(/^(?:node '|guest)/u);
    }
    // And the same can be done again.
    chain.jobs.get("c0").dismiss();
    const again = await start(chain);
    if (again.type === "commit" && guest.node.name !== "overlay1") {
      await chain.clock.advance(1000);
      if (again.status === "ready") await again.complete();
    }
    expect(await chain.run(again.done)).toEqual({ outcome: "completed" });
    expect((await shows(chain, guest)).equals(expected)).toBe(true);
    await chain.graph.closeAll();
  });
});

describe("a mirror whose source hangs", () => {
  test.each(["the job", "a guest"] as const)("at a request of %s ends as soon", async (whose) => {
    const rig = await openRig({ size: SIZE });
    rig.fill("source", 0, SIZE, 1);
    const guest = rig.guest();
    if (whose === "the job") rig.sourceFaults.add({ operation: "read", hold: true });
    const { job } = await rig.mirror();
    if (whose === "a guest") {
      await rig.until("BLOCK_JOB_READY");
      rig.sourceFaults.add({ operation: "write", hold: true });
      void guest.write(0, [Buffer.alloc(KIB, 2)]);
    }
    await rig.clock.advance(100);
    expect(rig.sourceFaults.held).toHaveLength(1);
    job.cancel({ force: true });
    expect(await rig.run(job.done, END_MS)).toMatchObject({
      outcome: "cancelled",
      cleanupError: { code: "ETIMEDOUT", message: expect.stringContaining("'source' hangs") },
    });
    await rig.run(Promise.resolve(guest.write(MIB, [Buffer.alloc(KIB, 3)])), 100);
    const target = rig.content("target");
    rig.sourceFaults.release();
    await rig.clock.advance(200);
    expect(guest.node).toBe(rig.source);
    expect(rig.content("target").equals(target), "a late answer is not copied any more").toBe(true);
    expect([...rig.target.parents]).toEqual([]);
    await rig.graph.closeAll();
  });
});
