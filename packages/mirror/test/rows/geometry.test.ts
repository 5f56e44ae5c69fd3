// Mirror rules about lengths and clusters that a driver reports wrongly, or not at all.
import {
  BlockGraph,
  createDefaultRegistry,
  DRIVER_CONTRACT_VERSION,
  option,
  optionSchema,
  PassThroughDevice,
  type BlockDriver,
  type DeviceInfo,
} from "@blockmirror/block-driver";
import { JobManager } from "@blockmirror/blockjob";
import { expect, test } from "vitest";
import { startMirror } from "../../src/index.ts";
import { MIB } from "../support/rig.ts";

const SIZE = MIB;

/** A format that shows what is below it, and tells of itself what a test wants. */
function formatThatSays(
  facts: Partial<DeviceInfo>,
): BlockDriver<{ readonly file: string | { readonly driver: string } }> {
  class Device extends PassThroughDevice {
    override get info(): DeviceInfo {
      return { ...super.info, ...facts };
    }
  }
  return {
    name: "told",
    kind: "format",
    contractVersion: DRIVER_CONTRACT_VERSION,
    options: optionSchema({ file: option.child("what is below") }),
    open: async (options, context) => new Device("told", await context.openChild(options.file, "file")),
  };
}

function graphWith(facts: Partial<DeviceInfo>): BlockGraph {
  const registry = createDefaultRegistry();
  registry.register(formatThatSays(facts));
  return new BlockGraph({ registry });
}

test("S9.2, D14: a target that names a closed backing file and does not tell its cluster size is refused", async () => {
  const graph = graphWith({ namedBacking: { filename: "base.raw" } });
  await graph.open({ driver: "memory", nodeName: "below", size: SIZE });
  const source = await graph.open({ driver: "memory", nodeName: "source", size: SIZE });
  const target = await graph.open({ driver: "told", nodeName: "target", file: "below" });
  expect(target.info.align.allocation).toBe(0);
  const start = startMirror({ id: "m0", graph, jobs: new JobManager(), source, target });
  await expect(start).rejects.toThrow(/cluster size/u);
  expect([...source.parents, ...target.parents]).toEqual([]);
  await graph.closeAll();
});

test.each([Number.NaN, -1, 1.5])(
  "S33.2: deviation: no length is asked for that could fail; a device of %d bytes is not opened, so there is no job",
  async (size) => {
    const graph = graphWith({ size });
    await graph.open({ driver: "memory", nodeName: "below", size: SIZE });
    await expect(graph.open({ driver: "told", nodeName: "source", file: "below" })).rejects.toThrow(
      /has .* bytes/u,
    );
    expect(graph.find("source")).toBeUndefined();
    await graph.closeAll();
  },
);
