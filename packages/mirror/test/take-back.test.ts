import { ALL_PERMISSIONS, type BlockNode } from "@blockmirror/block-driver";
import { expect, test } from "vitest";
import { startMirror, startStream } from "../src/index.ts";
import { openChain, type Chain } from "./support/chain.ts";
import { MIB } from "./support/rig.ts";

/** A start that fails late, and whose undoing meets a failure of its own. */

const SIZE = MIB;

/** A parent that refuses to become quiet at its nth drained section, and only then. */
function refuseAt(chain: Chain, node: BlockNode, nth: number): void {
  let sections = 0;
  chain.graph.attach(node, {
    name: "moody",
    uses: [],
    shares: ALL_PERMISSIONS,
    onDrainBegin: () => {
      sections += 1;
      if (sections === nth) throw new Error("not now");
    },
    onDrainEnd: () => {},
  });
}

/** Takes the id that the next job asks for. */
function takeId(chain: Chain, id: string): void {
  chain.jobs.create({ type: "other", run: () => Promise.resolve() }, { id });
}

test("a mirror that could not start puts the target back, though the filter could not be taken away", async () => {
  const chain = await openChain({ base: SIZE, overlays: [SIZE] });
  const { graph, jobs, top } = chain;
  await graph.open({ driver: "memory", nodeName: "target-memory", size: 0 });
  await graph.create("qcow2", { file: "target-memory", size: SIZE });
  const target = await graph.open({
    driver: "qcow2",
    nodeName: "target",
    file: "target-memory",
    backing: null,
  });
  takeId(chain, "m0");
  // The job's own section, that of the filter, and that of taking it away.
  refuseAt(chain, top, 3);
  const start = startMirror({
    id: "m0",
    graph,
    jobs,
    source: top,
    target,
    sync: "top",
    backingMode: "source-chain",
  });
  await expect(chain.run(start)).rejects.toThrow(/m0.*not everything could be put back: not now/u);
  expect(target.child("backing")).toBeUndefined();
  expect([...target.parents]).toEqual([]);
});

test("a stream that could not start closes its image for writing, though the filter could not be taken away", async () => {
  const chain = await openChain({ base: SIZE, overlays: [SIZE], topReadOnly: true });
  const { graph, jobs, top } = chain;
  takeId(chain, "s0");
  // Opening for writing, the filter, and taking it away.
  refuseAt(chain, top, 3);
  const start = startStream({ id: "s0", graph, jobs, image: top });
  await expect(chain.run(start)).rejects.toThrow(/s0.*not everything could be put back: not now/u);
  expect(top.info.readOnly).toBe(true);
});
