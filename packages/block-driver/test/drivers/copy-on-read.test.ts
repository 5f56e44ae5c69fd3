import { describe, expect, test } from "vitest";
import {
  ExtentFlag,
  ExtentList,
  FaultController,
  type BlockEdge,
  type BlockGraph,
  type BlockNode,
} from "../../src/index.ts";
import { runConformance, inMemory } from "../conformance/subjects.ts";
import { failure, filled, makeGraph, parent, readBytes, settle } from "../support/graphs.ts";

const CLUSTER = 4096;
const SIZE = 16 * CLUSTER;
/** Bytes of the backing file; zeroes follow. */
const BELOW = 7;
const BELOW_LENGTH = 12 * CLUSTER;

interface Overlay {
  readonly graph: BlockGraph;
  /** The filter, and its user. */
  readonly node: BlockNode;
  readonly edge: BlockEdge;
  /** Disturbs the backing file and the image's file. */
  readonly below: FaultController;
  readonly store: FaultController;
}

/** An empty qcow2 image over a backing file, below the filter. */
async function overlay(size = SIZE): Promise<Overlay> {
  const graph = makeGraph();
  const [below, store] = [new FaultController(), new FaultController()];
  const base = await graph.open({ driver: "memory", nodeName: "base", size });
  const writer = graph.attach(base, parent("maker"));
  await writer.write(0, [filled(BELOW_LENGTH, BELOW)]);
  await graph.detach(writer);
  await graph.open({ driver: "memory", nodeName: "store", size: 0 });
  const create = { size, clusterSize: CLUSTER, backingFile: "base", backingFormat: "raw" };
  await graph.create("qcow2", { file: "store", ...create });
  const node = await graph.open({
    driver: "copy-on-read",
    nodeName: "filter",
    file: {
      driver: "qcow2",
      nodeName: "image",
      file: { driver: "fault", controller: store, file: "store" },
      backing: { driver: "fault", controller: below, file: "base" },
    },
  });
  return { graph, node, edge: graph.attach(node, parent("guest")), below, store };
}

/** One letter per cluster: `d` data, `z` zero, `.` not held by the image. */
async function held(edge: BlockEdge): Promise<string> {
  const extents = new ExtentList();
  let letters = "";
  for (let at = 0; at < SIZE; at = extents.next) {
    await edge.status(at, SIZE - at, extents);
    for (let index = 0; index < extents.count; index += 1) {
      const flags = extents.flagsAt(index);
      const letter = (flags & ExtentFlag.Deferred) !== 0 ? "." : (flags & ExtentFlag.Zero) !== 0 ? "z" : "d";
      letters += letter.repeat(extents.lengthAt(index) / CLUSTER);
    }
  }
  return letters;
}

await runConformance([
  { name: "copy-on-read over memory", storage: inMemory((file) => ({ driver: "copy-on-read", file })) },
]);

describe("copy-on-read", () => {
  test("keeps the clusters that a read touches, and reads them from below no more", async () => {
    const { edge, below } = await overlay();
    expect(await held(edge)).toBe(".".repeat(16));
    expect(await readBytes(edge, 2 * CLUSTER + 100, CLUSTER)).toEqual(filled(CLUSTER, BELOW));
    expect(await held(edge)).toBe("..dd............");
    below.clearLog();
    expect(await readBytes(edge, 2 * CLUSTER, 2 * CLUSTER)).toEqual(filled(2 * CLUSTER, BELOW));
    expect(below.log.filter(({ operation }) => operation === "read")).toEqual([]);
  });

  test("keeps zeroes as zeroes", async () => {
    const { edge } = await overlay();
    expect(await readBytes(edge, BELOW_LENGTH + 1, 1)).toEqual(filled(1, 0));
    expect(await held(edge)).toBe("............z...");
  });

  test("keeps what lies between clusters that the image holds", async () => {
    const { edge } = await overlay();
    await edge.write(CLUSTER, [filled(CLUSTER, 1)]);
    await edge.writeZeroes(3 * CLUSTER, CLUSTER);
    const expected = [BELOW, 1, BELOW, 0, BELOW].flatMap((value) => [...filled(CLUSTER, value)]);
    expect([...(await readBytes(edge, 0, 5 * CLUSTER))]).toEqual(expected);
    expect(await held(edge)).toBe("dddzd...........");
    expect([...(await readBytes(edge, 0, 5 * CLUSTER))]).toEqual(expected);
  });

  test("a read of everything keeps data as data and zeroes as zeroes", async () => {
    const { edge } = await overlay();
    const pieces = [new Uint8Array(5000), new Uint8Array(SIZE - 5000)];
    await edge.read(0, pieces);
    const all = Buffer.concat(pieces);
    expect(all.subarray(0, BELOW_LENGTH).equals(filled(BELOW_LENGTH, BELOW))).toBe(true);
    expect(all.subarray(BELOW_LENGTH).equals(filled(SIZE - BELOW_LENGTH, 0))).toBe(true);
    expect(await held(edge)).toBe("ddddddddddddzzzz");
  });

  test("reads longer than one step are whole", async () => {
    const size = 3 * 1024 * 1024 + 512;
    const { edge } = await overlay(size);
    await edge.write(size - 700, [filled(700, 3)]);
    const all = await readBytes(edge, 10, size - 10);
    expect(all.findIndex((byte) => byte !== BELOW)).toBe(BELOW_LENGTH - 10);
    expect(all.lastIndexOf(0)).toBe(size - 10 - 701);
    expect(Buffer.compare(all, await readBytes(edge, 10, size - 10))).toBe(0);
  });

  test.each(["write", "writeZeroes", "discard"] as const)(
    "a copy never undoes a %s that came while it was under way",
    async (operation) => {
      const { edge, below } = await overlay();
      below.add({ operation: "read", hold: true });
      const reading = readBytes(edge, 0, 10);
      const heldRead = await below.waitForHeld("read");
      const run = {
        write: () => edge.write(0, [filled(CLUSTER, 9)]),
        writeZeroes: () => edge.writeZeroes(0, CLUSTER),
        discard: () => edge.discard(0, CLUSTER),
      }[operation];
      const changing = Promise.resolve(run());
      await settle();
      heldRead.release();
      await Promise.all([reading, changing]);
      const expected = { write: 9, writeZeroes: 0, discard: 0 }[operation];
      expect(await readBytes(edge, 0, CLUSTER)).toEqual(filled(CLUSTER, expected));
    },
  );

  test("a copy that fails fails no reader, and is told of once", async () => {
    const { edge, node, store } = await overlay();
    store.add({ operation: ["write", "writeZeroes"], error: "ENOSPC", times: 0 });
    for (let index = 0; index < 3; index += 1) {
      expect(await readBytes(edge, index * CLUSTER, 10)).toEqual(filled(10, BELOW));
    }
    expect(node.events.map(({ type }) => type)).toEqual(["warning"]);
    store.clear();
    expect(await readBytes(edge, 0, 10)).toEqual(filled(10, BELOW));
    expect(await held(edge)).toMatch(/^d/);
  });

  test("a read that fails below fails, and keeps nothing", async () => {
    const { edge, below } = await overlay();
    below.add({ operation: "read", error: "EIO" });
    await failure("EIO", () => readBytes(edge, 0, 10));
    expect(await held(edge)).toBe(".".repeat(16));
  });

  test("nobody writes past it; readers may look", async () => {
    const { graph } = await overlay();
    const image = graph.find("image");
    if (image === undefined) throw new Error("no image");
    await failure("EBUSY", () => graph.attach(image, parent("past")));
    graph.attach(image, parent("reader", { uses: ["read"] }));
  });

  test("an image that is open read-only is read, and keeps nothing", async () => {
    const { graph, edge, node } = await overlay();
    await graph.detach(edge);
    await graph.reopen(node, { readOnly: true });
    const reader = graph.attach(node, { name: "reader", uses: ["read"], shares: ["read"] });
    expect(await readBytes(reader, 0, CLUSTER)).toEqual(filled(CLUSTER, BELOW));
    expect(await held(reader)).toBe(".".repeat(16));
  });
});

/** Three layers; the lower two hold one cluster each. */
async function chain(bottom: string): Promise<{ readonly graph: BlockGraph; readonly edge: BlockEdge }> {
  const graph = makeGraph();
  const layer = async (name: string, backing: string | null, cluster: number): Promise<void> => {
    await graph.open({ driver: "memory", nodeName: `${name}-file`, size: 0 });
    const named = backing === null ? {} : { backingFile: backing, backingFormat: "qcow2" };
    await graph.create("qcow2", { file: `${name}-file`, size: SIZE, clusterSize: CLUSTER, ...named });
    const node = await graph.open({ driver: "qcow2", nodeName: name, file: `${name}-file`, backing });
    const writer = graph.attach(node, parent("maker"));
    if (name !== "top") await writer.write(cluster * CLUSTER, [filled(CLUSTER, cluster + 1)]);
    await graph.detach(writer);
  };
  await layer("base", null, 1);
  await layer("middle", "base", 2);
  await layer("top", "middle", 0);
  const node = await graph.open({ driver: "copy-on-read", nodeName: "filter", file: "top", bottom });
  return { graph, edge: graph.attach(node, parent("guest")) };
}

describe("copy-on-read down to a bottom", () => {
  test.each([
    ["top", "."],
    ["middle", "..d."],
    ["base", "zddz"],
  ])("keeps what %s and the layers above it hold: %s", async (bottom, expected) => {
    const { edge } = await chain(bottom);
    const bytes = await readBytes(edge, 0, 4 * CLUSTER);
    expect([bytes[0], bytes[CLUSTER], bytes[2 * CLUSTER]]).toEqual([0, 2, 3]);
    expect(await held(edge)).toBe(expected.padEnd(16, "."));
  });

  test("keeps nothing any more when the bottom leaves the chain", async () => {
    const { graph, edge } = await chain("base");
    const other = await graph.open({ driver: "memory", nodeName: "other", size: SIZE });
    const top = graph.find("top");
    if (top === undefined) throw new Error("there is no top");
    await graph.setBacking(top, other);
    expect(await readBytes(edge, CLUSTER, CLUSTER)).toEqual(filled(CLUSTER, 0));
    expect(await held(edge)).toBe(".".repeat(16));
  });

  test("a bottom that is not in the chain is refused", async () => {
    await expect(chain("top-file")).rejects.toMatchObject({ code: "EINVAL" });
    await expect(chain("nobody")).rejects.toMatchObject({ code: "EINVAL" });
  });
});
