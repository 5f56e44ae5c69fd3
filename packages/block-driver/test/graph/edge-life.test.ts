import { describe, expect, test } from "vitest";
import { ExtentList } from "../../src/index.ts";
import { failure, filled, isSettled, makeGraph, parent, readBytes } from "../support/graphs.ts";

async function disk(size = 65_536) {
  const graph = makeGraph();
  return { graph, node: await graph.open({ driver: "memory", nodeName: "disk", size }) };
}

describe("an edge that was detached", () => {
  test("refuses every request, so that nobody passes the claims of those who came later", async () => {
    const { graph, node } = await disk();
    const gone = graph.attach(node, parent("gone"));
    await graph.detach(gone);
    const alone = graph.attach(node, { name: "alone", uses: ["read", "write"], shares: ["read"] });
    await alone.write(0, [filled(512, 1)]);
    await failure("ESHUTDOWN", () => gone.write(0, [filled(512, 2)]));
    await failure("ESHUTDOWN", () => gone.writeZeroes(0, 512));
    await failure("ESHUTDOWN", () => gone.discard(0, 512));
    await failure("ESHUTDOWN", () => gone.resize(0));
    await failure("ESHUTDOWN", () => gone.read(0, [filled(512, 0)]));
    await failure("ESHUTDOWN", () => gone.status(0, 512, new ExtentList()));
    const error = await failure("ESHUTDOWN", () => gone.flush());
    for (const part of ["gone", "'disk'"]) expect(error.message).toContain(part);
    expect(await readBytes(alone, 0, 512)).toEqual(filled(512, 1));
  });

  test("refuses also the requests that a drained section held back", async () => {
    const { graph, node } = await disk();
    const gone = graph.attach(node, parent("gone"));
    const reader = graph.attach(node, parent("reader"));
    const section = await graph.drain(node);
    const write = failure("ESHUTDOWN", () => gone.write(0, [filled(512, 2)]));
    const resize = failure("ESHUTDOWN", () => gone.resize(0));
    expect(await isSettled(write)).toBe(false);
    await graph.detach(gone);
    section.end();
    await Promise.all([write, resize]);
    expect(await readBytes(reader, 0, 512)).toEqual(filled(512, 0));
  });

  test("lets requests that are in flight already end as they will", async () => {
    const { graph } = await disk();
    const slow = await graph.open({ driver: "strict", file: "disk", later: true, can: { flush: true } });
    const gone = graph.attach(slow, parent("gone"));
    const write = Promise.resolve(gone.write(0, [filled(512, 3)]));
    await graph.detach(gone);
    await write;
    expect(await readBytes(graph.attach(slow, parent("reader")), 0, 512)).toEqual(filled(512, 3));
  });
});

describe("attaching", () => {
  test("to a node that is still being opened is refused", async () => {
    const graph = makeGraph();
    const opening = graph.open({ driver: "raw", nodeName: "image", file: { driver: "memory", size: 512 } });
    const image = graph.find("image");
    if (image === undefined) throw new Error("a node that is being opened has its name already");
    await failure("ESHUTDOWN", () => graph.attach(image, parent("early")));
    expect(await opening).toBe(image);
    graph.attach(image, parent("in time"));
  });

  test("during a section leaves nothing behind when the parent cannot be quiet", async () => {
    const { graph, node } = await disk();
    const section = await graph.drain(node);
    const bad = parent("bad", {
      onDrainBegin: () => {
        throw new Error("cannot");
      },
    });
    expect(() => graph.attach(node, bad)).toThrow("cannot");
    expect(node.parents.size).toBe(0);
    section.end();
  });
});

describe("opening", () => {
  test("with a signal that was aborted before does nothing", async () => {
    const { graph, node } = await disk();
    const signal = AbortSignal.abort();
    await failure("ECANCELED", () => graph.open({ driver: "memory", size: 512 }, { signal }));
    await failure("ECANCELED", () => graph.create("raw", { file: "disk", size: 512 }, signal));
    expect(graph.nodes()).toEqual([node]);
    expect(node.size).toBe(65_536);
  });

  test("fails when the graph is closed meanwhile, and leaves nothing open", async () => {
    const graph = makeGraph();
    const file = { driver: "fault", file: { driver: "memory", size: 512 } };
    const opening = failure("ESHUTDOWN", () => graph.open({ driver: "raw", nodeName: "image", file }));
    await graph.closeAll();
    await opening;
    expect(graph.nodes()).toEqual([]);
  });
});

test("a dirty bitmap above misses no write to what was resized below it", async () => {
  const { graph, node } = await disk();
  const filter = await graph.open({ driver: "fault", file: "disk" });
  const above = graph.attach(filter, parent("above"));
  const below = graph.attach(node, parent("below"));
  const bitmap = filter.createDirtyBitmap({ granularity: 4096 });
  await below.resize(131_072);
  await above.write(100_000, [filled(10, 1)]);
  expect(bitmap.bits.size).toBe(131_072);
  expect(bitmap.dirtyBytes).toBe(4096);
  await below.resize(8192);
  await above.write(8191, [filled(1, 1)]);
  expect(bitmap.dirtyBytes).toBe(4096);
  expect(bitmap.bits.get(8191)).toBe(true);
});
