import { describe, expect, test } from "vitest";
import {
  ExtentFlag,
  ExtentList,
  skipFilters,
  StatusResolver,
  type BlockNode,
  type ResolveOptions,
} from "../../src/index.ts";
import { makeGraph } from "../support/graphs.ts";

const BLOCK = 512;

interface Layer {
  readonly blocks: string;
  readonly batch?: number;
  readonly later?: boolean;
  readonly filtered?: boolean;
}

/** Opens a chain, topmost first; `nodes` are the layers themselves, filters left out. */
async function chain(
  ...layers: readonly Layer[]
): Promise<{ readonly top: BlockNode; readonly nodes: readonly BlockNode[] }> {
  const graph = makeGraph();
  const nodes: BlockNode[] = [];
  let below: BlockNode | undefined;
  for (const { filtered = false, ...layer } of layers.toReversed()) {
    const node: BlockNode = await graph.open({ driver: "layer", ...layer, backing: below?.name ?? null });
    nodes.unshift(node);
    below = filtered ? await graph.open({ driver: "fault", file: node.name }) : node;
  }
  if (below === undefined) throw new Error("an empty chain");
  return { top: below, nodes };
}

/** The whole answer as text: one letter per block and the depth after it. */
async function describeAll(top: BlockNode, capacity = 64, options: ResolveOptions = {}): Promise<string> {
  const resolver = new StatusResolver();
  const list = new ExtentList(capacity);
  let text = "";
  for (let at = 0; at < top.size; at = list.next) {
    await resolver.resolve(top, at, top.size - at, list, options);
    expect(list.next).toBeGreaterThan(at);
    expect(list.count).toBeLessThanOrEqual(capacity);
    for (let index = 0; index < list.count; index += 1) {
      const flags = list.flagsAt(index);
      const letter = (flags & ExtentFlag.Data) !== 0 ? "d" : (flags & ExtentFlag.Zero) !== 0 ? "z" : ".";
      text += `${letter}${list.depthAt(index)}`.repeat(list.lengthAt(index) / BLOCK);
    }
  }
  return text;
}

describe("resolving through a chain", () => {
  test("one layer answers for itself; deferred without backing is zero", async () => {
    const { top } = await chain({ blocks: "dz.d" });
    expect(await describeAll(top)).toBe("d0z0z0d0");
  });

  test("each block comes from the first layer that has it", async () => {
    const { top } = await chain({ blocks: "d.z...." }, { blocks: ".dd.z.d" }, { blocks: "ddddd.z" });
    expect(await describeAll(top)).toBe("d0d1z0d2z1z2d1");
  });

  test("beyond the end of a shorter backing image everything is zero", async () => {
    const { top } = await chain({ blocks: "......" }, { blocks: "...." }, { blocks: "dd" });
    expect(await describeAll(top)).toBe("d2d2z2z2z1z1");
  });

  test("a longer backing image does not show", async () => {
    const { top } = await chain({ blocks: ".." }, { blocks: "dddd" });
    expect(await describeAll(top)).toBe("d1d1");
  });

  test.each([1, 2, 3])("a list of %i extents gives the same answer in steps", async (capacity) => {
    const layers = [{ blocks: "d.z..z.d" }, { blocks: ".d.z..d" }, { blocks: "ddd" }];
    const { top } = await chain(...layers);
    expect(await describeAll(top, capacity)).toBe(await describeAll(top));
  });

  test("drivers that answer one extent at a time, or later, give the same answer", async () => {
    const layers = [{ blocks: "d.z..z.d" }, { blocks: ".d.z..dd" }, { blocks: "ddd.dd" }];
    const expected = await describeAll((await chain(...layers)).top);
    for (const change of [{ batch: 1 }, { later: true }, { batch: 2, later: true }]) {
      const { top } = await chain(...layers.map((layer) => ({ ...layer, ...change })));
      expect(await describeAll(top)).toBe(expected);
      expect(await describeAll(top, 1)).toBe(expected);
    }
  });

  test("filters are transparent and do not count", async () => {
    const { top, nodes } = await chain(
      { blocks: "d..", filtered: true },
      { blocks: ".d.", filtered: true },
      { blocks: "ddd" },
    );
    expect(await describeAll(top)).toBe("d0d1d2");
    expect(skipFilters(top)).toBe(nodes[0]);
  });

  test("`above` stops there: what it or those below would answer stays deferred", async () => {
    const { top, nodes } = await chain(
      { blocks: "d.." },
      { blocks: ".d." },
      { blocks: "ddd", filtered: true },
    );
    expect(await describeAll(top, 64, { above: mustBe(nodes[2]) })).toBe("d0d1.2");
    expect(await describeAll(top, 64, { above: mustBe(nodes[1]) })).toBe("d0.1.1");
    expect(await describeAll(top, 64, { above: mustBe(nodes[0]) })).toBe(".0.0.0");
  });

  test("answers exactly the range asked for, from its offset on", async () => {
    const { top } = await chain({ blocks: ".d." }, { blocks: "ddd" });
    const list = new ExtentList();
    await new StatusResolver().resolve(top, 100, BLOCK, list);
    expect([list.offsetAt(0), list.lengthAt(0), list.lengthAt(1), list.next]).toEqual([100, 412, 100, 612]);
  });

  test("keeps the flags and host offsets of the layer that answered", async () => {
    const { top } = await chain({ blocks: ".c" }, { blocks: "d." });
    const list = new ExtentList();
    await new StatusResolver().resolve(top, 0, 2 * BLOCK, list);
    expect([list.flagsAt(0), list.hostOffsetAt(0)]).toEqual([ExtentFlag.Data | ExtentFlag.HostOffset, 0]);
    expect(list.flagsAt(1)).toBe(ExtentFlag.Data | ExtentFlag.Compressed);
  });

  test("a resolver can be used again, also after a failure", async () => {
    const { top } = await chain({ blocks: ".d" }, { blocks: "d" });
    const resolver = new StatusResolver();
    const list = new ExtentList();
    await expect(resolver.resolve(top, 0, 5000, list)).rejects.toMatchObject({ code: "EINVAL" });
    await resolver.resolve(top, 0, 1024, list);
    expect([list.count, list.depthAt(0), list.depthAt(1)]).toEqual([2, 1, 0]);
  });
});

function mustBe<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("missing");
  return value;
}
