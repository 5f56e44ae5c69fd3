import { copyFileSync, readFileSync } from "node:fs";
import { lacksPeers } from "@blockmirror/peers";
import { describe, expect, test } from "vitest";
import {
  BlockGraph,
  createDefaultRegistry,
  keepDirtyBitmap,
  loadDirtyBitmap,
  type BlockEdge,
  type BlockNode,
  type DirtyBitmap,
} from "../../../src/index.ts";
import { failure, parent } from "../../support/graphs.ts";
import { createImage } from "../support/create.ts";
import { peek64, poke32, poke64 } from "../support/poke.ts";
import { qemuCheck, qemuImg, qemuInfo, qemuIo } from "../support/qemu-img.ts";
import { scratchFiles } from "../support/scratch.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

interface Opened {
  readonly graph: BlockGraph;
  readonly node: BlockNode;
  readonly edge: BlockEdge;
}

async function openImage(filename: string, readOnly = false): Promise<Opened> {
  const graph = new BlockGraph({ registry: createDefaultRegistry() });
  const node = await graph.open({
    driver: "qcow2",
    nodeName: "disk",
    readOnly,
    file: { driver: "file", filename },
  });
  const uses = readOnly ? (["read"] as const) : (["read", "write", "resize"] as const);
  return { graph, node, edge: graph.attach(node, parent("test", { uses })) };
}

async function write(edge: BlockEdge, offset: number, length: number): Promise<void> {
  await edge.write(offset, [new Uint8Array(length).fill(0x5a)]);
}

function bitmapNamed(node: BlockNode, name: string): DirtyBitmap {
  for (const bitmap of node.dirtyBitmaps) if (bitmap.name === name) return bitmap;
  throw new Error(`no bitmap ${name}`);
}

/** The dirty ranges of a bitmap. */
function dirtyOf({ bits }: DirtyBitmap): readonly (readonly [start: number, end: number])[] {
  const ranges: (readonly [number, number])[] = [];
  for (let start = bits.nextDirty(0); start >= 0;) {
    const zero = bits.nextZero(start);
    const end = zero < 0 ? bits.size : zero;
    ranges.push([start, end]);
    start = zero < 0 ? -1 : bits.nextDirty(end);
  }
  return ranges;
}

async function bitmapsByQemu(filename: string): Promise<unknown> {
  return (await qemuInfo(filename))["format-specific"].data["bitmaps"] ?? [];
}

async function isClean(filename: string): Promise<void> {
  const report = await qemuCheck(filename);
  expect([report["check-errors"], report.corruptions ?? 0, report.leaks ?? 0]).toEqual([0, 0, 0]);
}

describe.skipIf(lacksPeers("qemu-img", "qemu-io"))("persistent bitmaps", () => {
  const path = scratchFiles();

  test("are stored where qemu-img finds them, and loaded again", async () => {
    const file = path("a.qcow2");
    await createImage(file, 16 * MIB + 512);
    const first = await openImage(file);
    const b0 = first.node.createDirtyBitmap({ name: "b0", granularity: 64 * KIB });
    const off = first.node.createDirtyBitmap({ name: "off", granularity: 512, enabled: false });
    keepDirtyBitmap(first.node, b0);
    keepDirtyBitmap(first.node, off);
    off.bits.set(MIB, 512);
    await write(first.edge, 3 * MIB, 100);
    await write(first.edge, 16 * MIB + 256, 256);
    await first.graph.closeAll();
    expect(await bitmapsByQemu(file)).toEqual([
      { flags: ["auto"], name: "b0", granularity: 64 * KIB },
      { flags: [], name: "off", granularity: 512 },
    ]);
    await isClean(file);

    const second = await openImage(file);
    expect(second.node.device.bitmaps?.list()).toEqual([
      { name: "b0", granularity: 64 * KIB, recording: true, inconsistent: false },
      { name: "off", granularity: 512, recording: false, inconsistent: false },
    ]);
    expect(dirtyOf(bitmapNamed(second.node, "b0"))).toEqual([
      [3 * MIB, 3 * MIB + 64 * KIB],
      [16 * MIB, 16 * MIB + 512],
    ]);
    expect(dirtyOf(bitmapNamed(second.node, "off"))).toEqual([[MIB, MIB + 512]]);
    await write(second.edge, 0, 512);
    await second.graph.closeAll();
    await isClean(file);

    const third = await openImage(file, true);
    expect(third.node.dirtyBitmaps.size).toBe(0);
    expect(third.node.device.bitmaps?.list()).toHaveLength(2);
    const copy = await loadDirtyBitmap(third.node, "b0");
    expect([...third.node.dirtyBitmaps]).toEqual([copy]);
    expect([copy.name, copy.granularity, copy.enabled, copy.persistent]).toEqual([
      "b0",
      64 * KIB,
      false,
      false,
    ]);
    expect(dirtyOf(copy)).toEqual([
      [0, 64 * KIB],
      [3 * MIB, 3 * MIB + 64 * KIB],
      [16 * MIB, 16 * MIB + 512],
    ]);
    await failure("EEXIST", () => loadDirtyBitmap(third.node, "b0"));
    await failure("ENOENT", () => loadDirtyBitmap(third.node, "b1"));
    await third.graph.closeAll();
    const fourth = await openImage(file);
    expect(dirtyOf(bitmapNamed(fourth.node, "b0"))[0]).toEqual([0, 64 * KIB]);
    expect(dirtyOf(bitmapNamed(fourth.node, "off"))).toEqual([[MIB, MIB + 512]]);
    await fourth.graph.closeAll();
  });

  test.each([512, 64 * KIB, 2 * MIB])(
    "of qemu are read, followed and given back, clusters of %i",
    async (cluster) => {
      const file = path("a.qcow2");
      await qemuImg(["create", "-q", "-f", "qcow2", "-o", `cluster_size=${cluster}`, file, "100M"]);
      await qemuImg(["bitmap", "--add", "-g", "4096", file, "fine"]);
      await qemuImg(["bitmap", "--add", "-g", "1M", file, "coarse"]);
      await qemuIo(file, ["write 0 4k", "write 50M 8k", "discard 99M 1M"]);
      const { graph, node, edge } = await openImage(file);
      expect(dirtyOf(bitmapNamed(node, "fine"))).toEqual([
        [0, 4096],
        [50 * MIB, 50 * MIB + 8192],
        [99 * MIB, 100 * MIB],
      ]);
      await write(edge, 70 * MIB, 1);
      await graph.closeAll();
      await isClean(file);
      // qemu goes on where we stopped: merged into another, nothing is lost.
      await qemuImg(["bitmap", "--add", "-g", "4096", file, "sum"]);
      await qemuImg(["bitmap", "--disable", "--merge", "fine", file, "sum"]);
      await qemuIo(file, ["write 80M 4k"]);
      const again = await openImage(file);
      expect(dirtyOf(bitmapNamed(again.node, "sum"))).toEqual([
        [0, 4096],
        [50 * MIB, 50 * MIB + 8192],
        [70 * MIB, 70 * MIB + 4096],
        [99 * MIB, 100 * MIB],
      ]);
      expect(bitmapNamed(again.node, "sum").enabled).toBe(false);
      expect(dirtyOf(bitmapNamed(again.node, "fine"))).toContainEqual([80 * MIB, 80 * MIB + 4096]);
      expect(dirtyOf(bitmapNamed(again.node, "coarse"))).toContainEqual([80 * MIB, 81 * MIB]);
      await again.graph.closeAll();
    },
  );

  test("leave an image that is not written as it is", async () => {
    const file = path("a.qcow2");
    await createImage(file, 4 * MIB);
    await qemuImg(["bitmap", "--add", file, "b0"]);
    await qemuIo(file, ["write 0 64k"]);
    const before = readFileSync(file);
    const { graph, edge } = await openImage(file);
    await edge.read(0, [new Uint8Array(512)]);
    await graph.closeAll();
    expect(readFileSync(file).equals(before)).toBe(true);
  });

  test("G12: are marked as in use before the first write, and then not trusted after a crash", async () => {
    const file = path("a.qcow2");
    await createImage(file, 4 * MIB);
    await qemuImg(["bitmap", "--add", file, "b0"]);
    await qemuImg(["bitmap", "--add", "--disable", file, "asleep"]);
    const { graph, edge } = await openImage(file);
    await write(edge, 0, 512);
    copyFileSync(file, path("crashed.qcow2"));
    await graph.closeAll();
    expect(await bitmapsByQemu(path("crashed.qcow2"))).toEqual([
      { flags: ["in-use", "auto"], name: "b0", granularity: 64 * KIB },
      { flags: ["in-use"], name: "asleep", granularity: 64 * KIB },
    ]);
    const again = await openImage(path("crashed.qcow2"));
    expect(again.node.dirtyBitmaps.size).toBe(0);
    expect(again.node.device.bitmaps?.list()).toMatchObject([{ inconsistent: true }, { inconsistent: true }]);
    await failure("BLK_CORRUPT", () =>
      again.node.device.bitmaps?.load("b0", again.node.createDirtyBitmap({}).bits),
    );
    // They stay listed, and in use, whatever is written.
    await write(again.edge, MIB, 512);
    await again.graph.closeAll();
    expect(await bitmapsByQemu(path("crashed.qcow2"))).toHaveLength(2);
    await failure("ENOTSUP", async () => {
      const third = await openImage(path("crashed.qcow2"));
      try {
        await third.edge.resize(8 * MIB);
      } finally {
        await third.graph.closeAll();
      }
    });
  });

  test("are gone when they are removed", async () => {
    const file = path("a.qcow2");
    await createImage(file, 4 * MIB);
    await qemuImg(["bitmap", "--add", file, "b0"]);
    await qemuImg(["bitmap", "--add", file, "b1"]);
    const first = await openImage(file);
    first.node.removeDirtyBitmap(bitmapNamed(first.node, "b0"));
    await first.graph.closeAll();
    expect(await bitmapsByQemu(file)).toMatchObject([{ name: "b1" }]);
    await isClean(file);
    const second = await openImage(file);
    second.node.removeDirtyBitmap(bitmapNamed(second.node, "b1"));
    await second.graph.closeAll();
    expect(await bitmapsByQemu(file)).toEqual([]);
    expect(peek64(file, 88)).toBe(0n);
    await isClean(file);
  });

  test("follow the disk to a new size", async () => {
    const file = path("a.qcow2");
    await createImage(file, 4 * MIB);
    await qemuImg(["bitmap", "--add", file, "b0"]);
    const { graph, edge } = await openImage(file);
    await edge.resize(8 * MIB);
    await write(edge, 7 * MIB, 512);
    await graph.closeAll();
    await isClean(file);
    await qemuIo(file, ["write 0 512"]);
    const again = await openImage(file);
    expect(dirtyOf(bitmapNamed(again.node, "b0"))).toEqual([
      [0, 64 * KIB],
      [7 * MIB, 7 * MIB + 64 * KIB],
    ]);
    await again.graph.closeAll();
  });

  test("B14: given up by software that does not know them are gone", async () => {
    const file = path("a.qcow2");
    await createImage(file, 4 * MIB);
    await qemuImg(["bitmap", "--add", file, "b0"]);
    poke64(file, 88, 0n);
    const { graph, node, edge } = await openImage(file);
    expect(node.device.bitmaps?.list()).toEqual([]);
    await write(edge, 0, 512);
    await graph.closeAll();
    expect(await bitmapsByQemu(file)).toEqual([]);
  });

  test("G09: a directory that makes no sense is told, and refused for writing", async () => {
    const file = path("a.qcow2");
    await createImage(file, 4 * MIB);
    await qemuImg(["bitmap", "--add", file, "b0"]);
    const { graph, node } = await openImage(file, true);
    expect(node.device.bitmaps?.list()).toHaveLength(1);
    await graph.closeAll();
    poke32(file, directoryOf(file) + 12, 16);
    await failure("BLK_CORRUPT", () => openImage(file));
    const tolerant = await openImage(file, true);
    expect(tolerant.node.device.bitmaps?.list()).toEqual([]);
    expect(tolerant.node.events).toMatchObject([{ type: "warning" }]);
    await tolerant.graph.closeAll();
  });

  test("need a version 3 image, a name, and a writable node", async () => {
    await createImage(path("v2.qcow2"), MIB, { version: "v2" });
    const old = await openImage(path("v2.qcow2"));
    await failure("ENOTSUP", () => keepDirtyBitmap(old.node, old.node.createDirtyBitmap({ name: "b" })));
    await old.graph.closeAll();
    await createImage(path("v3.qcow2"), MIB);
    const three = await openImage(path("v3.qcow2"));
    await failure("EINVAL", () => keepDirtyBitmap(three.node, three.node.createDirtyBitmap({})));
    await three.graph.closeAll();
    const reader = await openImage(path("v3.qcow2"), true);
    await failure("EROFS", () => keepDirtyBitmap(reader.node, reader.node.createDirtyBitmap({ name: "b" })));
    await reader.graph.closeAll();
  });
});

/** Where the bitmap directory is. */
function directoryOf(file: string): number {
  for (let at = 112; at < 4096; at += 8) {
    if (peek64(file, at) >> 32n === 0x23852875n) return Number(peek64(file, at + 24));
  }
  throw new Error("no bitmaps extension");
}
