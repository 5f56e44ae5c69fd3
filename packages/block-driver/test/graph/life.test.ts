import { describe, expect, test } from "vitest";
import { ALL_PERMISSIONS } from "../../src/index.ts";
import { disturbed, failure, filled, isSettled, makeGraph, parent, readBytes } from "../support/graphs.ts";

describe("claims", () => {
  test("who may only write what is there already can write beside a user that shares just that", async () => {
    const graph = makeGraph();
    const node = await graph.open({ driver: "memory", size: 4096 });
    const reader = graph.attach(node, {
      name: "overlay",
      uses: ["read"],
      shares: ["read", "write-unchanged"],
    });
    const commit = graph.attach(node, {
      name: "commit",
      uses: ["write-unchanged"],
      shares: ALL_PERMISSIONS,
    });
    await commit.write(0, [filled(512, 4)]);
    await commit.writeZeroes(512, 512);
    expect(await readBytes(reader, 0, 512)).toEqual(filled(512, 4));
    expect(() => reader.write(0, [filled(512, 4)])).toThrow(TypeError);
    await graph.closeAll();
  });

  test("a writer is not led to a read-only node", async () => {
    const graph = makeGraph();
    const from = await graph.open({ driver: "memory", size: 4096 });
    const to = await graph.open({ driver: "memory", size: 4096, readOnly: true });
    const edge = graph.attach(from, parent("guest"));
    await failure("EROFS", () => graph.replace(from, to));
    expect(edge.node).toBe(from);
    await edge.write(0, [filled(512, 1)]);
    graph.reclaim(edge, { uses: ["read"], shares: ALL_PERMISSIONS });
    await graph.replace(from, to);
    expect(edge.node).toBe(to);
    await graph.closeAll();
  });
});

describe("dirty bitmaps in use", () => {
  test("are not removed", async () => {
    const graph = makeGraph();
    const node = await graph.open({ driver: "memory", size: 4096 });
    const bitmap = node.createDirtyBitmap({ name: "b" });
    bitmap.busy = true;
    await failure("EBUSY", () => node.removeDirtyBitmap(bitmap));
    expect(node.dirtyBitmaps.has(bitmap)).toBe(true);
    bitmap.busy = false;
    node.removeDirtyBitmap(bitmap);
    expect(node.dirtyBitmaps.size).toBe(0);
    await graph.closeAll();
  });
});

describe("closing", () => {
  test("waits for requests that are in flight, and only then closes what is below", async () => {
    const { graph, node, controller, edge } = await disturbed();
    controller.add({ operation: "write", hold: true });
    const write = Promise.resolve(edge.write(0, [filled(512, 1)]));
    await graph.detach(edge);
    const closing = graph.close(node);
    expect(await isSettled(closing)).toBe(false);
    controller.release();
    await Promise.all([write, closing]);
    expect(graph.nodes()).toEqual([]);
  });
});
