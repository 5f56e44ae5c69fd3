import { describe, expect, test } from "vitest";
import type { BlockNode, DirtyBitmap } from "../../src/index.ts";
import { disturbed, failure, filled, makeGraph, parent } from "../support/graphs.ts";

const GRANULARITY = 512;

function dirty(bitmap: DirtyBitmap): readonly number[] {
  const chunks: number[] = [];
  for (let at = 0; at < bitmap.bits.size; at += GRANULARITY)
    if (bitmap.bits.get(at)) chunks.push(at / GRANULARITY);
  return chunks;
}

function bitmapOf(node: BlockNode, name?: string): DirtyBitmap {
  return node.createDirtyBitmap({ granularity: GRANULARITY, ...(name !== undefined && { name }) });
}

describe("marking", () => {
  test("every kind of write marks the chunks it touches, rounded outwards", async () => {
    const { node, edge } = await disturbed(8 * GRANULARITY);
    const bitmap = bitmapOf(node);
    expect(dirty(bitmap)).toEqual([]);
    edge.write(10, [filled(1, 1)]);
    expect(dirty(bitmap)).toEqual([0]);
    edge.writeZeroes(GRANULARITY * 3 - 1, 2);
    expect(dirty(bitmap)).toEqual([0, 2, 3]);
    edge.discard(GRANULARITY * 5, GRANULARITY * 2);
    expect(dirty(bitmap)).toEqual([0, 2, 3, 5, 6]);
    await edge.read(GRANULARITY, [filled(10, 0)]);
    await edge.flush();
    edge.write(GRANULARITY, []);
    edge.discard(GRANULARITY, 0);
    expect(dirty(bitmap)).toEqual([0, 2, 3, 5, 6]);
  });

  test("marks when the write settles, not before", async () => {
    const { node, edge, controller } = await disturbed();
    const bitmap = bitmapOf(node);
    controller.add({ operation: "write", hold: true });
    const write = edge.write(0, [filled(1, 1)]);
    await controller.waitForHeld();
    expect(bitmap.dirtyBytes).toBe(0);
    controller.release();
    await write;
    expect(bitmap.dirtyBytes).toBe(GRANULARITY);
  });

  test.each(["write", "writeZeroes", "discard"] as const)(
    "a failed %s marks too: a part may have landed",
    async (operation) => {
      for (const later of [false, true]) {
        const { node, edge, controller } = await disturbed();
        const bitmap = bitmapOf(node);
        controller.add({ operation, error: "EIO", hold: later });
        const failed = failure("EIO", () =>
          operation === "write" ? edge.write(0, [filled(1, 1)]) : edge[operation](0, 1),
        );
        if (later) {
          await controller.waitForHeld();
          controller.release();
        }
        await failed;
        expect(dirty(bitmap)).toEqual([0]);
      }
    },
  );

  test("a refused write does not mark", async () => {
    const { node, edge } = await disturbed(1024);
    const bitmap = bitmapOf(node);
    await failure("EINVAL", () => edge.write(1000, [filled(100, 1)]));
    await failure("ECANCELED", () => edge.write(0, [filled(1, 1)], { signal: AbortSignal.abort() }));
    expect(bitmap.dirtyBytes).toBe(0);
    expect(bitmap.generation).toBe(0);
  });

  test("the generation grows with every mark, also of a dirty chunk", async () => {
    const { node, edge } = await disturbed();
    const bitmap = bitmapOf(node);
    edge.write(0, [filled(1, 1)]);
    edge.write(0, [filled(1, 1)]);
    expect(bitmap.generation).toBe(2);
    expect(bitmap.dirtyBytes).toBe(GRANULARITY);
  });

  test("a disabled bitmap does not follow; one that was removed neither", async () => {
    const { node, edge } = await disturbed();
    const off = node.createDirtyBitmap({ granularity: GRANULARITY, enabled: false });
    const removed = bitmapOf(node);
    node.removeDirtyBitmap(removed);
    node.removeDirtyBitmap(removed);
    edge.write(0, [filled(1, 1)]);
    expect([off.dirtyBytes, removed.dirtyBytes]).toEqual([0, 0]);
    off.enabled = true;
    edge.write(0, [filled(1, 1)]);
    expect(off.dirtyBytes).toBe(GRANULARITY);
  });

  test("writes through a filter are seen on both nodes, writes below it on one", async () => {
    const graph = makeGraph();
    const base = await graph.open({ driver: "memory", nodeName: "base", size: 4096 });
    const top = await graph.open({ driver: "fault", file: "base" });
    const [below, above] = [bitmapOf(base), bitmapOf(top)];
    graph.attach(top, parent("top")).write(0, [filled(1, 1)]);
    graph.attach(base, parent("base")).write(512, [filled(1, 1)]);
    expect([dirty(below), dirty(above)]).toEqual([[0, 1], [0]]);
  });
});

describe("size", () => {
  test("the last chunk never counts beyond the end", async () => {
    const { node, edge } = await disturbed(1000);
    const bitmap = bitmapOf(node);
    edge.write(999, [filled(1, 1)]);
    expect(bitmap.dirtyBytes).toBe(488);
    edge.write(0, [filled(1, 1)]);
    expect(bitmap.dirtyBytes).toBe(1000);
  });

  test("follows the node; new space is clean, and space that comes back too", async () => {
    const { node, edge } = await disturbed(2048);
    const bitmap = bitmapOf(node);
    edge.write(0, [filled(2048, 1)]);
    await edge.resize(512);
    expect(dirty(bitmap)).toEqual([0]);
    await edge.resize(4096);
    expect(bitmap.bits.size).toBe(4096);
    expect(dirty(bitmap)).toEqual([0]);
  });

  test("a write that settles after its range was cut off neither fails to settle nor marks outside", async () => {
    for (const error of [undefined, "EIO"] as const) {
      const { graph, node, edge, controller } = await disturbed(2048);
      const bitmap = bitmapOf(node);
      controller.add({ operation: "write", hold: true, ...(error !== undefined && { error }) });
      const write = edge.write(512, [filled(1536, 1)]);
      await controller.waitForHeld();
      await edge.resize(1024);
      controller.release();
      await expect(write).rejects.toHaveProperty("code");
      expect(dirty(bitmap)).toEqual([1]);
      expect(node.inFlight).toBe(0);
      (await graph.drain(node)).end();
    }
  });

  test("a bitmap in use keeps its node from being resized", async () => {
    const { node, edge } = await disturbed(2048);
    const bitmap = bitmapOf(node, "b0");
    bitmap.busy = true;
    const error = await failure("EBUSY", () => edge.resize(4096));
    expect(error.message).toContain("b0");
    expect(node.size).toBe(2048);
    bitmap.busy = false;
    await edge.resize(4096);
  });
});

describe("shape", () => {
  test("names are unique on a node; private bitmaps have none", async () => {
    const { graph, node } = await disturbed();
    const first = bitmapOf(node, "b0");
    await failure("EEXIST", () => bitmapOf(node, "b0"));
    bitmapOf(node);
    bitmapOf(node);
    expect(node.dirtyBitmaps.size).toBe(3);
    node.removeDirtyBitmap(first);
    bitmapOf(node, "b0");
    bitmapOf(await graph.open({ driver: "memory", size: 1 }), "b0");
  });

  test.each([0, 511, 513, 768, 2 ** 32, Number.NaN, -512])(
    "a granularity of %s is refused",
    async (granularity) => {
      const { node } = await disturbed();
      expect(() => node.createDirtyBitmap({ granularity })).toThrow(RangeError);
      expect(node.dirtyBitmaps.size).toBe(0);
    },
  );

  test("names have 1 to 1023 bytes; the default granularity is 64 KiB", async () => {
    const { node } = await disturbed();
    expect(() => node.createDirtyBitmap({ name: "" })).toThrow(RangeError);
    expect(() => node.createDirtyBitmap({ name: "ä".repeat(512) })).toThrow(RangeError);
    expect(node.createDirtyBitmap({ name: "n".repeat(1023) }).granularity).toBe(65536);
  });
});
