import { chmod, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ALL_PERMISSIONS, FaultController, keepDirtyBitmap, type BlockNode } from "../../src/index.ts";
import { disturbed, failure, filled, isSettled, makeGraph, parent, readBytes } from "../support/graphs.ts";

const MIB = 1024 * 1024;
let directory = "";

beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), "reopen-"));
});

afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

function writer(graph: ReturnType<typeof makeGraph>, node: BlockNode): ReturnType<typeof graph.attach> {
  return graph.attach(node, { name: "writer", uses: ["read", "write"], shares: ALL_PERMISSIONS });
}

async function rawFile(): Promise<string> {
  const filename = path.join(directory, "disk.raw");
  await writeFile(filename, Buffer.alloc(MIB, 7));
  return filename;
}

async function image(graph: ReturnType<typeof makeGraph>, readOnly: boolean): Promise<BlockNode> {
  const filename = path.join(directory, "disk.qcow2");
  await writeFile(filename, "");
  await graph.create("qcow2", { file: { driver: "file", filename }, size: MIB });
  return graph.open({ driver: "qcow2", nodeName: "q", readOnly, file: { driver: "file", filename } });
}

describe("reopening a file below a raw image", () => {
  test("it can be written after it was opened for reading, and read-only is refused to be written again", async () => {
    const graph = makeGraph();
    const node = await graph.open({
      driver: "raw",
      nodeName: "disk",
      readOnly: true,
      file: { driver: "file", filename: await rawFile() },
    });
    const edge = writer(graph, node);
    await failure("EROFS", () => edge.write(0, [filled(512, 1)]));
    await graph.reopen(node, { readOnly: false });
    expect(node.info.readOnly).toBe(false);
    await edge.write(0, [filled(512, 1)]);
    expect(await readBytes(edge, 0, 1024)).toEqual(new Uint8Array([...filled(512, 1), ...filled(512, 7)]));

    await failure("EBUSY", () => graph.reopen(node, { readOnly: true }));
    graph.reclaim(edge, { uses: ["read"], shares: ALL_PERMISSIONS });
    await graph.reopen(node, { readOnly: true });
    expect(node.info.readOnly).toBe(true);
    expect(node.child("file")?.info.readOnly).toBe(true);
    expect(await readBytes(edge, 0, 512)).toEqual(filled(512, 1));
    await graph.closeAll();
  });

  test("the image lock follows the mode, and a lock of somebody else leaves it readable", async () => {
    const filename = await rawFile();
    const [ours, theirs] = [makeGraph(), makeGraph()];
    const spec = (readOnly: boolean): { driver: string; filename: string; readOnly: boolean } => ({
      driver: "file",
      filename,
      readOnly,
    });
    const node = await ours.open(spec(true));
    const edge = ours.attach(node, parent("reader", { uses: ["read"] }));
    const reader = await theirs.open(spec(true));
    await failure("EBUSY", () => ours.reopen(node, { readOnly: false }));
    expect(node.info.readOnly).toBe(true);
    expect(await readBytes(edge, 0, 512)).toEqual(filled(512, 7));
    await theirs.close(reader);
    // Its own lock was put back: a writer is still kept out.
    await failure("EBUSY", () => theirs.open(spec(false)));

    await ours.reopen(node, { readOnly: false });
    await failure("EBUSY", () => theirs.open(spec(true)));
    await ours.reopen(node, { readOnly: true });
    await theirs.close(await theirs.open(spec(true)));
    await ours.closeAll();
  });

  test("a name that leads to another file by now is refused", async () => {
    const filename = await rawFile();
    const graph = makeGraph();
    const node = await graph.open({ driver: "file", filename, readOnly: true });
    const other = path.join(directory, "other");
    await writeFile(other, Buffer.alloc(MIB));
    await rename(other, filename);
    await failure("EBUSY", () => graph.reopen(node, { readOnly: false }));
    const edge = graph.attach(node, parent("reader", { uses: ["read"] }));
    expect(await readBytes(edge, 0, 512)).toEqual(filled(512, 7));
    await graph.closeAll();
  });

  test.skipIf(process.getuid?.() === 0)("a file that may not be written stays as it is", async () => {
    const filename = await rawFile();
    await chmod(filename, 0o444);
    const graph = makeGraph();
    const node = await graph.open({ driver: "raw", readOnly: true, file: { driver: "file", filename } });
    await failure("EACCES", () => graph.reopen(node, { readOnly: false }));
    expect(node.info.readOnly).toBe(true);
    await graph.closeAll();
  });

  test("storage that another node has is not opened for writing", async () => {
    const filename = await rawFile();
    const graph = makeGraph();
    const first = await graph.open({ driver: "file", filename, readOnly: true });
    await graph.open({ driver: "file", filename, readOnly: true });
    await failure("EBUSY", () => graph.reopen(first, { readOnly: false }));
    await graph.closeAll();
  });
});

describe("reopening", () => {
  test("waits for requests in flight and holds new ones back", async () => {
    const { graph, node, controller, edge } = await disturbed();
    graph.reclaim(edge, { uses: ["read"], shares: ALL_PERMISSIONS });
    controller.add({ operation: "read", hold: true });
    const first = Promise.resolve(edge.read(0, [new Uint8Array(512)]));
    const reopening = graph.reopen(node, { readOnly: true });
    expect(await isSettled(reopening)).toBe(false);
    const read = Promise.resolve(edge.read(0, [new Uint8Array(512)]));
    expect(await isSettled(read)).toBe(false);
    controller.clear();
    controller.release();
    await Promise.all([first, reopening, read]);
    expect(node.info.readOnly).toBe(true);
    await graph.closeAll();
  });

  test("memory keeps its content both ways", async () => {
    const graph = makeGraph();
    const node = await graph.open({ driver: "memory", size: 4096 });
    const edge = writer(graph, node);
    await edge.write(0, [filled(512, 9)]);
    graph.reclaim(edge, { uses: ["read"], shares: ALL_PERMISSIONS });
    await graph.reopen(node, { readOnly: true });
    await graph.reopen(node, { readOnly: false });
    expect(await readBytes(edge, 0, 512)).toEqual(filled(512, 9));
    await graph.closeAll();
  });

  test("a protocol that cannot be opened again over the same storage says so", async () => {
    const graph = makeGraph();
    graph.registry.register({
      ...graph.registry.get("memory"),
      name: "once",
      contractVersion: 1,
      options: graph.registry.get("memory").options,
      open: async (_options, context) => {
        const { MemoryDevice } = await import("../../src/index.ts");
        const device = new MemoryDevice(4096, context.nodeName, true);
        Object.defineProperty(device, "reopen", { value: undefined });
        return device;
      },
    });
    const node = await graph.open({ driver: "once", size: 4096 });
    await failure("ENOTSUP", () => graph.reopen(node, { readOnly: false }));
    await graph.closeAll();
  });
});

describe("reopening a qcow2 image", () => {
  test("it is written after it was opened for reading, and what was written is there when it is read-only again", async () => {
    const graph = makeGraph();
    const node = await image(graph, true);
    const edge = writer(graph, node);
    await graph.reopen(node, { readOnly: false });
    await edge.write(70_000, [filled(100_000, 5)]);
    graph.reclaim(edge, { uses: ["read"], shares: ALL_PERMISSIONS });
    await graph.reopen(node, { readOnly: true });
    expect(await readBytes(edge, 70_000, 100_000)).toEqual(filled(100_000, 5));
    expect(node.child("file")?.info.readOnly).toBe(true);
    await graph.closeAll();
  });

  test("bitmaps that it stores come back; one in use refuses", async () => {
    const graph = makeGraph();
    const node = await image(graph, false);
    const edge = writer(graph, node);
    const bitmap = node.createDirtyBitmap({ name: "b" });
    keepDirtyBitmap(node, bitmap);
    await edge.write(0, [filled(512, 5)]);
    graph.reclaim(edge, { uses: ["read"], shares: ALL_PERMISSIONS });
    bitmap.busy = true;
    await failure("EBUSY", () => graph.reopen(node, { readOnly: true }));
    bitmap.busy = false;
    await graph.reopen(node, { readOnly: true });
    expect([...node.dirtyBitmaps]).toEqual([]);
    await graph.reopen(node, { readOnly: false });
    const [again] = node.dirtyBitmaps;
    expect(again?.name).toBe("b");
    expect(again?.dirtyBytes).toBe(65_536);
    await graph.closeAll();
  });

  test("a write that fails on the way keeps the image as it was, in use", async () => {
    const graph = makeGraph();
    const controller = new FaultController();
    await graph.open({ driver: "memory", nodeName: "storage", size: 0 });
    const file = { driver: "fault", controller, file: "storage" };
    await graph.create("qcow2", { file: "storage", size: MIB });
    const node = await graph.open({ driver: "qcow2", nodeName: "q", file });
    const edge = writer(graph, node);
    await edge.write(70_000, [filled(100_000, 5)]);
    graph.reclaim(edge, { uses: ["read"], shares: ALL_PERMISSIONS });
    controller.add({ operation: "write", error: "EIO" });
    await failure("EIO", () => graph.reopen(node, { readOnly: true }));
    expect(node.fence).toBeUndefined();
    expect(node.info.readOnly).toBe(false);
    expect(await readBytes(edge, 70_000, 100_000)).toEqual(filled(100_000, 5));
    await graph.reopen(node, { readOnly: true });
    expect(await readBytes(edge, 70_000, 100_000)).toEqual(filled(100_000, 5));
    await graph.closeAll();
  });
});
