import { describe, expect, test } from "vitest";
import { backingChain, FaultController, type BlockGraph, type BlockNode } from "../../src/index.ts";
import { failure, filled, makeGraph, parent, readBytes } from "../support/graphs.ts";

const KIB = 1024;
const SIZE = 1024 * KIB;

/** A qcow2 image in memory on `backing`; its bytes outlive it as node `NAME-file`. */
async function overlay(
  graph: BlockGraph,
  nodeName: string,
  backing: string | null,
  readOnly = false,
): Promise<BlockNode> {
  const file = `${nodeName}-file`;
  await graph.open({ driver: "memory", nodeName: file, size: 0 });
  await graph.create("qcow2", { file, size: SIZE });
  return graph.open({ driver: "qcow2", nodeName, file, backing, readOnly });
}

/** `base` full of 1, `middle` with 2 in its second 64 KiB, `top` with 3 in its third. */
async function chain(): Promise<{ readonly graph: BlockGraph; readonly top: BlockNode }> {
  const graph = makeGraph();
  await graph.open({ driver: "memory", nodeName: "base", size: SIZE });
  await put(graph, "base", 0, SIZE, 1);
  await overlay(graph, "middle", "base");
  await put(graph, "middle", 64 * KIB, 64 * KIB, 2);
  const top = await overlay(graph, "top", "middle");
  await put(graph, "top", 128 * KIB, 64 * KIB, 3);
  return { graph, top };
}

async function put(
  graph: BlockGraph,
  name: string,
  offset: number,
  length: number,
  value: number,
): Promise<void> {
  const node = graph.find(name);
  if (node === undefined) throw new Error(`no node ${name}`);
  const edge = graph.attach(node, parent("preparation"));
  await edge.write(offset, [filled(length, value)]);
  await graph.detach(edge);
}

async function firstBytes(graph: BlockGraph, node: BlockNode): Promise<readonly number[]> {
  const edge = graph.attach(node, parent("look", { uses: ["read"] }));
  const bytes = await readBytes(edge, 0, 256 * KIB);
  await graph.detach(edge);
  return [0, 64, 128, 192].map((at) => bytes[at * KIB] ?? -1);
}

function named(graph: BlockGraph, name: string): BlockNode {
  const node = graph.find(name);
  if (node === undefined) throw new Error(`no node ${name}`);
  return node;
}

/** A qcow2 overlay `top` on `base`, its own file below a fault filter. */
async function faulty(): Promise<{
  readonly graph: BlockGraph;
  readonly top: BlockNode;
  readonly faults: FaultController;
}> {
  const graph = makeGraph();
  const faults = new FaultController();
  await graph.open({ driver: "memory", nodeName: "base", size: SIZE });
  await put(graph, "base", 0, SIZE, 1);
  await graph.open({ driver: "memory", nodeName: "bytes", size: 0 });
  await graph.open({ driver: "fault", nodeName: "file", controller: faults, file: "bytes" });
  await graph.create("qcow2", { file: "file", size: SIZE });
  const top = await graph.open({ driver: "qcow2", nodeName: "top", file: "file", backing: "base" });
  await put(graph, "top", 128 * KIB, 64 * KIB, 3);
  return { graph, top, faults };
}

describe("the backing chain", () => {
  test("is told from the bottom up, without filters", async () => {
    const { graph, top } = await chain();
    expect(backingChain(top).map(({ name }) => name)).toEqual(["base", "middle", "top"]);
    const { node, chain: told } = await graph.openChain({ driver: "fault", file: "top" });
    expect(told.map(({ name }) => name)).toEqual(["base", "middle", "top"]);
    expect(node.kind).toBe("filter");
    await graph.closeAll();
  });
});

describe("setBacking", () => {
  test("leads an image to another backing node at once", async () => {
    const { graph, top } = await chain();
    expect(await firstBytes(graph, top)).toEqual([1, 2, 3, 1]);
    await graph.setBacking(top, named(graph, "base"));
    expect(await firstBytes(graph, top)).toEqual([1, 1, 3, 1]);
    expect(backingChain(top).map(({ name }) => name)).toEqual(["base", "top"]);
    await graph.close(named(graph, "middle"));
    await graph.closeAll();
  });

  test("takes the backing node away and gives one again", async () => {
    const { graph, top } = await chain();
    await graph.setBacking(top, null);
    expect(await firstBytes(graph, top)).toEqual([0, 0, 3, 0]);
    expect(named(graph, "middle").parents.size).toBe(0);
    await graph.setBacking(top, named(graph, "middle"));
    expect(await firstBytes(graph, top)).toEqual([1, 2, 3, 1]);
    // It can be opened again with what it has now.
    await graph.reopen(top, { readOnly: true });
    expect(await firstBytes(graph, top)).toEqual([1, 2, 3, 1]);
    await graph.closeAll();
  });

  test("refuses a loop, a conflict and an image that has no backing, without effect", async () => {
    const { graph, top } = await chain();
    const middle = named(graph, "middle");
    await failure("EINVAL", () => graph.setBacking(middle, top));
    await failure("EINVAL", () => graph.setBacking(named(graph, "base"), null));
    const other = await graph.open({ driver: "memory", nodeName: "other", size: SIZE });
    const edge = graph.attach(other, parent("writer", { shares: ["read", "write"] }));
    await failure("EBUSY", () => graph.setBacking(top, other));
    expect(await firstBytes(graph, top)).toEqual([1, 2, 3, 1]);
    await graph.detach(edge);
    await graph.closeAll();
  });

  test("closes an old backing node that was opened inline", async () => {
    const graph = makeGraph();
    await graph.open({ driver: "memory", nodeName: "f", size: 0 });
    await graph.create("qcow2", { file: "f", size: SIZE });
    const top = await graph.open({
      driver: "qcow2",
      file: "f",
      backing: { driver: "memory", nodeName: "inline", size: SIZE },
    });
    await graph.setBacking(top, null);
    expect(graph.find("inline")).toBeUndefined();
    await graph.closeAll();
  });
});

describe("a failure while an image is opened again", () => {
  test("leaves it as it was, with its backing node", async () => {
    const { graph, top, faults } = await faulty();
    faults.add({ operation: "read", error: "EIO" });
    await failure("EIO", () => graph.setBacking(top, null));
    expect(await firstBytes(graph, top)).toEqual([1, 1, 3, 1]);
    expect(top.info.readOnly).toBe(false);
    await put(graph, "top", 0, 512, 9);
    expect(await firstBytes(graph, top)).toEqual([9, 1, 3, 1]);
    await graph.setBacking(top, null);
    expect(await firstBytes(graph, top)).toEqual([9, 0, 3, 0]);
    await graph.closeAll();
  });

  test("that does not go away fences it, and what is below can still be closed", async () => {
    const { graph, top, faults } = await faulty();
    faults.add({ operation: "read", error: "EIO", times: 0 });
    await failure("EIO", () => graph.setBacking(top, null));
    await failure("BLK_FENCED", () => firstBytes(graph, top));
    faults.clear();
    await graph.closeAll();
    expect(graph.nodes()).toEqual([]);
  });

  test("what was opened for reading stays so, and what it stands on as well", async () => {
    const { graph, top, faults } = await faulty();
    await graph.reopen(top, { readOnly: true });
    const { uses } = top.child("file") ?? { uses: -1 };
    faults.add({ operation: "read", error: "EIO", times: 0 });
    await failure("EIO", () => graph.reopen(top, { readOnly: false }));
    faults.clear();
    expect(top.info.readOnly).toBe(true);
    expect(top.child("file")?.uses).toBe(uses);
    expect(await firstBytes(graph, top)).toEqual([1, 1, 3, 1]);
    await graph.closeAll();
  });
});

describe("changeBackingFile", () => {
  test("is refused for what records none, and for a read-only image", async () => {
    const { graph, top } = await chain();
    await failure("ENOTSUP", () => graph.changeBackingFile(named(graph, "base"), null));
    await graph.reopen(top, { readOnly: true });
    await failure("EROFS", () => graph.changeBackingFile(top, { filename: "x", format: "raw" }));
    await graph.closeAll();
  });
});
