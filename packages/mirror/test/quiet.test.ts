import type { BlockGraph, BlockNode, DrainedSection } from "@blockmirror/block-driver";
import type { Job, JobEvent } from "@blockmirror/blockjob";
import { describe, expect, test } from "vitest";
import { startStream } from "../src/index.ts";
import { openChain, type Chain } from "./support/chain.ts";
import { KIB, MIB, openRig, type Rig } from "./support/rig.ts";

/** A drained section of somebody else that begins while a job comes to its end. */

const SIZE = MIB;
/** So many turns after the end of the work the section begins. */
const TURNS = [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144];

interface Ending {
  readonly world: Rig | Chain;
  /** What somebody else drains. */
  readonly nodes: readonly BlockNode[];
  /** Starts the job, and tells it to end if it does not by itself. */
  start(): Promise<Job>;
}

interface Held {
  readonly section: DrainedSection;
  /** What there was at the instant at which everybody was told to be quiet. */
  readonly shape: readonly unknown[];
}

/** A section that begins so many turns after the work of the job has ended; it waits for whatever it has to. */
function sectionAtTheEnd({ world, nodes }: Ending, index: number, turns: number): Promise<Held | undefined> {
  return new Promise((resolve, reject) => {
    const begin = async (): Promise<Held | undefined> => {
      for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
      const node = nodes[index];
      // A commit closes what nobody needs any more.
      if (node === undefined || world.graph.find(node.name) !== node) return undefined;
      const section = await world.graph.drain(node);
      return { section, shape: shapeOf(world.graph) };
    };
    const unsubscribe = world.jobs.subscribe((event: JobEvent) => {
      if (event.event !== "JOB_STATUS_CHANGE" || !["waiting", "aborting"].includes(event.data.status)) return;
      unsubscribe();
      begin().then(resolve, reject);
    });
  });
}

/** Everything that a job may change, besides bytes. */
function shapeOf(graph: BlockGraph): readonly unknown[] {
  return graph.nodes().map(({ name, info, parents, children }) => ({
    name,
    readOnly: info.readOnly,
    records: info.namedBacking?.filename,
    parents: [...parents].map(({ parentName, uses, shares }) => [parentName, uses, shares]),
    children: [...children].map(({ role, node }) => [role, node.name]),
  }));
}

async function mirror(options: {
  readonly autoFinalize?: boolean;
  readonly fails?: boolean;
}): Promise<Ending> {
  const rig = await openRig({ size: SIZE });
  rig.fill("source", 0, SIZE, 1);
  const guest = rig.guest();
  const start = async (): Promise<Job> => {
    const { job } = await rig.mirror({ autoFinalize: options.autoFinalize ?? true });
    await rig.until("BLOCK_JOB_READY");
    if (options.fails === true) {
      rig.targetFaults.add({ operation: "write", error: "EIO", times: 0 });
      void guest.write(0, [Buffer.alloc(KIB, 2)]);
    }
    await job.complete();
    return job;
  };
  return { world: rig, nodes: [rig.source, rig.target], start };
}

async function commit(top: string, base: string): Promise<Ending> {
  const chain = await openChain({ base: SIZE, overlays: [SIZE, SIZE] });
  await chain.fill("overlay0", 0, 64 * KIB, 1);
  await chain.fill("overlay1", 32 * KIB, 64 * KIB, 2);
  chain.guest();
  const [from, to] = [chain.node(top), chain.node(base)];
  const isActive = from === chain.top;
  const start = async (): Promise<Job> => {
    const { job } = await chain.commit({ top: from, base: to, ...(!isActive && { backingFile: "b" }) });
    if (!isActive) return job;
    await chain.until("BLOCK_JOB_READY");
    await job.complete();
    return job;
  };
  return { world: chain, nodes: [from, to], start };
}

async function stream(): Promise<Ending> {
  const chain = await openChain({ base: SIZE, overlays: [SIZE, SIZE] });
  await chain.fill("overlay0", 0, 64 * KIB, 1);
  chain.guest();
  const { graph, jobs, top: image } = chain;
  const options = { id: "s0", graph, jobs, image, base: chain.base, backingFile: "b", autoDismiss: false };
  return { world: chain, nodes: [image, chain.base], start: () => chain.run(startStream(options)) };
}

const ENDS: Readonly<Record<string, () => Promise<Ending>>> = {
  "a mirror": () => mirror({}),
  "a mirror that fails": () => mirror({ fails: true }),
  "an active commit": () => commit("overlay1", "base"),
  "an intermediate commit": () => commit("overlay0", "base"),
  "a stream": () => stream(),
};

describe.each(Object.entries(ENDS))("beside the end of %s", (_what, make) => {
  test.each(TURNS)(
    "a section is told quiet only when nothing changes any more (%i turns later)",
    async (turns) => {
      for (const index of [0, 1]) {
        const ending = await make();
        const { clock, graph } = ending.world;
        const beginning = sectionAtTheEnd(ending, index, turns);
        const job = await ending.start();
        const held = await clock.run(beginning);
        await clock.advance(500);
        if (held !== undefined) expect(shapeOf(graph)).toEqual(held.shape);
        held?.section.end();
        await clock.run(job.done);
        expect(graph.nodes().filter(({ name }) => name.startsWith("#"))).toEqual([]);
        await graph.closeAll();
      }
    },
  );
});

test("a job that was drained in PENDING takes effect when that is over, and not before", async () => {
  const { world, nodes, start } = await mirror({ autoFinalize: false });
  const job = await start();
  await world.until("BLOCK_JOB_PENDING");
  const [source] = nodes;
  if (source === undefined) throw new Error("no source");
  const section = await world.graph.drain(source);
  const shape = shapeOf(world.graph);
  job.finalize();
  await world.clock.advance(1000);
  expect(shapeOf(world.graph)).toEqual(shape);
  section.end();
  expect(await world.run(job.done)).toEqual({ outcome: "completed" });
});
