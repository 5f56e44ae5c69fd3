import { describe, expect, test } from "vitest";
import { checkQcow2, type BlockEdge, type BlockGraph, type DeviceSpec } from "../../src/index.ts";
import { lacksNative, pattern, temporaryFile } from "../file/support.ts";
import { failure, filled, isSettled, makeGraph, parent, readBytes } from "../support/graphs.ts";

const KIB = 1024;
const SIZE = 256 * KIB;

interface Sides {
  readonly graph: BlockGraph;
  readonly source: BlockEdge;
  readonly target: BlockEdge;
}

function file(content: Uint8Array | number = SIZE): DeviceSpec {
  return { driver: "file", filename: temporaryFile(content) };
}

async function sides(source: DeviceSpec, target: DeviceSpec): Promise<Sides> {
  const graph = makeGraph();
  const open = async (name: string, spec: DeviceSpec): Promise<BlockEdge> => {
    const node = await graph.open({ ...spec, nodeName: name });
    return graph.attach(node, parent(`user of ${name}`));
  };
  return { graph, source: await open("source", source), target: await open("target", target) };
}

/** A qcow2 image in a file, with what `fill` writes to it. */
async function qcow2(
  options: Readonly<Record<string, unknown>> = {},
  fill?: (edge: BlockEdge) => Promise<void>,
): Promise<DeviceSpec> {
  const graph = makeGraph();
  const below = file(0);
  await graph.create("qcow2", { file: below, size: SIZE, ...options });
  const spec = { driver: "qcow2", file: below };
  const node = await graph.open(spec);
  const edge = graph.attach(node, parent("fill"));
  await fill?.(edge);
  await graph.detach(edge);
  await graph.close(node);
  return spec;
}

async function closeAll({ graph, source, target }: Sides): Promise<void> {
  for (const edge of [source, target]) {
    const { node } = edge;
    await graph.detach(edge);
    await graph.close(node);
  }
}

describe.skipIf(lacksNative)("copying below", () => {
  test("bytes arrive, and dirty bitmaps see them", async () => {
    const both = await sides(
      { driver: "raw", file: file(pattern(SIZE)), offset: 512 },
      { driver: "raw", file: file(), offset: 4096 },
    );
    const { source, target } = both;
    const bitmap = target.node.createDirtyBitmap({ granularity: 4096 });
    expect(await target.copyFrom(8192, source, 100, 10_000)).toBe(10_000);
    expect(Buffer.from(await readBytes(target, 8192, 10_000))).toEqual(pattern(SIZE).subarray(612, 10_612));
    expect(await readBytes(target, 0, 8192)).toEqual(filled(8192, 0));
    expect(bitmap.dirtyBytes).toBe(12 * KIB);
    target.node.removeDirtyBitmap(bitmap);
    await closeAll(both);
  });

  test("a chain lends what each layer holds, one run at a time, and what is zero nowhere is left to the caller", async () => {
    const base = file(pattern(128 * KIB));
    const overlay = await qcow2({}, async (edge) => {
      await edge.write(64 * KIB, [filled(64 * KIB, 7)]);
      await edge.writeZeroes(0, 4096);
    });
    const both = await sides({ ...overlay, backing: { driver: "raw", file: base } }, file());
    const { source, target } = both;
    // The first cluster holds what was copied around the zeroes, the second its data; behind them is nothing.
    expect(await target.copyFrom(0, source, 0, SIZE)).toBeGreaterThanOrEqual(64 * KIB);
    expect(await target.copyFrom(64 * KIB, source, 64 * KIB, SIZE - 64 * KIB)).toBe(64 * KIB);
    expect(await readBytes(target, 64 * KIB, 64 * KIB)).toEqual(filled(64 * KIB, 7));
    expect(await target.copyFrom(128 * KIB, source, 128 * KIB, 64 * KIB)).toBe(0);
    await closeAll(both);
  });

  test("what only the backing file holds is lent by it", async () => {
    const content = pattern(200 * KIB + 5);
    const overlay = await qcow2();
    const both = await sides({ ...overlay, backing: { driver: "raw", file: file(content) } }, file());
    const { source, target } = both;
    // The backing file ends before the overlay does.
    expect(await target.copyFrom(0, source, 0, SIZE)).toBe(content.byteLength);
    expect(Buffer.from(await readBytes(target, 0, content.byteLength))).toEqual(content);
    await closeAll(both);
  });

  test("a qcow2 image takes whole clusters, over every kind of cluster, and nothing else", async () => {
    const target = await qcow2({}, async (edge) => {
      await edge.write(64 * KIB, [filled(100, 1)]);
      await edge.writeZeroes(128 * KIB, 64 * KIB);
    });
    const both = await sides(file(pattern(SIZE)), target);
    const { source, target: image } = both;
    expect(await image.copyFrom(512, source, 0, 128 * KIB)).toBe(0);
    expect(await image.copyFrom(0, source, 0, 63 * KIB)).toBe(0);
    expect(await image.copyFrom(0, source, 0, SIZE - 1)).toBe(192 * KIB);
    const expected = Buffer.alloc(SIZE);
    pattern(SIZE).copy(expected, 0, 0, 192 * KIB);
    expect(Buffer.from(await readBytes(image, 0, SIZE))).toEqual(expected);
    await closeAll(both);
    const graph = makeGraph();
    const again = await graph.open(target);
    const edge = graph.attach(again, parent("again"));
    expect(Buffer.from(await readBytes(edge, 0, SIZE))).toEqual(expected);
    await graph.detach(edge);
    await graph.close(again);
  });

  test("clusters that could not be filled are given back", async () => {
    const graph = makeGraph();
    // Memory cannot take a copy, so the image below cannot either.
    await graph.open({ driver: "memory", nodeName: "below", size: 4 * SIZE });
    await graph.create("qcow2", { file: "below", size: SIZE });
    const node = await graph.open({ driver: "qcow2", nodeName: "image", file: "below" });
    const source = await graph.open({ ...file(pattern(SIZE)), nodeName: "source" });
    const [to, from] = [graph.attach(node, parent("to")), graph.attach(source, parent("from"))];
    expect(await to.copyFrom(0, from, 0, SIZE)).toBe(0);
    expect(await readBytes(to, 0, SIZE)).toEqual(filled(SIZE, 0));
    await graph.detach(to);
    await graph.close(node);
    const below = graph.find("below");
    if (below === undefined) throw new Error("the memory is gone");
    const checker = graph.attach(below, parent("check"));
    expect(await checkQcow2(checker)).toMatchObject({ leaks: 0, corruptions: 0 });
  });

  test("is refused like a write, and is left to the caller where bytes have to be looked at", async () => {
    const readOnly = await sides(file(), { ...file(), readOnly: true });
    await failure("EROFS", () => readOnly.target.copyFrom(0, readOnly.source, 0, 512));
    await failure("EINVAL", () => readOnly.target.copyFrom(SIZE, readOnly.source, 0, 1));
    await closeAll(readOnly);
    const plain = await sides(file(), file());
    await failure("EINVAL", () => plain.target.copyFrom(0, plain.source, SIZE, 1));
    await closeAll(plain);
    const looking = await sides(file(pattern(SIZE)), { ...file(), detectZeroes: "on" });
    expect(await looking.target.copyFrom(0, looking.source, 0, 512)).toBe(0);
    await closeAll(looking);
  });

  test.each(["source", "target"] as const)(
    "waits while the %s is drained, holding up neither",
    async (side) => {
      const both = await sides(file(pattern(SIZE)), file());
      const { graph, source, target } = both;
      const section = await graph.drain(both[side].node);
      const copy = Promise.resolve(target.copyFrom(0, source, 0, 4096));
      expect(await isSettled(copy)).toBe(false);
      // The other side can be drained as well: nothing is in flight there.
      const other = await graph.drain(both[side === "source" ? "target" : "source"].node);
      section.end();
      other.end();
      expect(await copy).toBe(4096);
      await closeAll(both);
    },
  );
});
