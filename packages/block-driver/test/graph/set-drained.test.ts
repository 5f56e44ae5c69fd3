import { describe, expect, test } from "vitest";
import { BlockGraph, createDefaultRegistry, PassThroughDevice, type BlockNode } from "../../src/index.ts";
import { parent } from "../support/graphs.ts";

/** Notes what it is told. */
class ToldDevice extends PassThroughDevice {
  readonly told: boolean[] = [];

  setDrained(isDrained: boolean): void {
    this.told.push(isDrained);
  }
}

/** `low`, and above it a filter that notes what it is told. */
async function toldFilter(): Promise<{
  readonly graph: BlockGraph;
  readonly low: BlockNode;
  readonly filter: BlockNode;
  readonly told: boolean[];
}> {
  const graph = new BlockGraph({ registry: createDefaultRegistry() });
  const low = await graph.open({ driver: "memory", nodeName: "low", size: 4096 });
  const top = await graph.open({ driver: "raw", nodeName: "top", file: "low" });
  let told: boolean[] = [];
  const filter = await graph.insertFilter(low, {
    nodeName: "filter",
    device: (child) => {
      const device = new ToldDevice("told", child);
      ({ told } = device);
      return device;
    },
  });
  graph.attach(top, parent("user"));
  told.length = 0;
  return { graph, low, filter, told };
}

describe("devices are told that their node is drained", () => {
  test.each(["low", "filter", "top"])("by a section on '%s', once for sections that nest", async (name) => {
    const { graph, told } = await toldFilter();
    const node = graph.find(name);
    if (node === undefined) throw new Error(`no node '${name}'`);
    const first = await graph.drain(node);
    expect(told).toEqual([true]);
    const second = await graph.drain(node);
    first.end();
    expect(told).toEqual([true]);
    second.end();
    second.end();
    expect(told).toEqual([true, false]);
  });

  test("not by a section that has nothing to do with it", async () => {
    const { graph, told } = await toldFilter();
    const other = await graph.open({ driver: "memory", nodeName: "other", size: 4096 });
    (await graph.drain(other)).end();
    expect(told).toEqual([]);
  });

  test("before parents are asked to be quiet, and no longer when one of them fails", async () => {
    const { graph, filter, told } = await toldFilter();
    let toldBefore: readonly boolean[] = [];
    graph.attach(
      filter,
      parent("bad", {
        uses: ["read"],
        onDrainBegin: () => {
          toldBefore = [...told];
          return Promise.reject(new Error("cannot"));
        },
      }),
    );
    await expect(graph.drain(filter)).rejects.toThrow("cannot");
    expect(toldBefore).toEqual([true]);
    expect(told).toEqual([true, false]);
  });

  test("when its node gets another device while it is drained", async () => {
    const { graph, filter, told, low } = await toldFilter();
    const section = await graph.drain(filter);
    const child = filter.child("filtered");
    if (child === undefined) throw new Error("no child");
    const next = new ToldDevice("told", child);
    filter.own(next, false);
    expect(next.told).toEqual([true]);
    section.end();
    expect([next.told, told]).toEqual([[true, false], [true]]);
    expect(low.inFlight).toBe(0);
  });

  test("by whoever is in a hurry, without anything being held", async () => {
    const { graph, low, told } = await toldFilter();
    const end = graph.expedite(low);
    expect(told).toEqual([true]);
    const [edge] = graph.find("top")?.parents ?? [];
    expect(edge?.write(0, [new Uint8Array(512)])).toBeUndefined();
    end();
    end();
    expect(told).toEqual([true, false]);
  });

  test("when its node is closed", async () => {
    const { graph, told } = await toldFilter();
    await graph.closeAll();
    expect(told[0]).toBe(true);
  });
});
