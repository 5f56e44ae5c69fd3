import { copyFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
  BlockError,
  BlockGraph,
  createDefaultRegistry,
  FaultController,
  keepDirtyBitmap,
  type BlockEdge,
  type BlockNode,
  type DeviceSpec,
  type DirtyBitmap,
} from "../../../src/index.ts";
import { parent } from "../../support/graphs.ts";
import { checkFile } from "../support/check.ts";
import { createImage } from "../support/create.ts";
import { scratchFiles } from "../support/scratch.ts";

const KIB = 1024;
const SIZE = 512 * KIB;
const CHUNK = 4 * KIB;

const path = scratchFiles();

/** Opens an image, uses it, and closes it even when that fails; the first failure is thrown. */
async function session<T>(
  file: DeviceSpec,
  run: (node: BlockNode, edge: BlockEdge) => Promise<T>,
  readOnly = false,
): Promise<T> {
  const graph = new BlockGraph({ registry: createDefaultRegistry() });
  try {
    const node = await graph.open({ driver: "qcow2", nodeName: "disk", readOnly, file });
    const uses = readOnly ? (["read"] as const) : (["read", "write", "resize"] as const);
    return await run(node, graph.attach(node, parent("test", { uses })));
  } finally {
    await graph.closeAll();
  }
}

function fileSpec(name: string): DeviceSpec {
  return { driver: "file", filename: path(name) };
}

async function content(name: string): Promise<Buffer> {
  return session(
    fileSpec(name),
    async (_node, edge) => {
      const bytes = Buffer.alloc(SIZE);
      await edge.read(0, [bytes]);
      return bytes;
    },
    true,
  );
}

/** The bitmaps that are to be trusted, by name. */
async function trusted(name: string): Promise<ReadonlyMap<string, DirtyBitmap>> {
  return session(
    fileSpec(name),
    async (node) => {
      const found = new Map<string, DirtyBitmap>();
      for (const stored of node.device.bitmaps?.list() ?? []) {
        if (stored.inconsistent) continue;
        const bitmap = node.createDirtyBitmap(stored);
        await node.device.bitmaps?.load(stored.name, bitmap.bits);
        found.set(stored.name, bitmap);
      }
      return found;
    },
    true,
  );
}

/** An image with data, a bitmap that follows, dirty at its beginning, and one that does not. */
async function prepare(clusterSize: number): Promise<void> {
  await createImage(path("before.qcow2"), SIZE, { clusterSize });
  await session(fileSpec("before.qcow2"), async (node, edge) => {
    await edge.write(100 * KIB, [new Uint8Array(50 * KIB).fill(1)]);
    const follows = node.createDirtyBitmap({ name: "follows", granularity: CHUNK });
    keepDirtyBitmap(node, follows);
    const rests = node.createDirtyBitmap({ name: "rests", granularity: CHUNK, enabled: false });
    keepDirtyBitmap(node, rests);
    rests.bits.set(8 * CHUNK, CHUNK);
    await edge.write(0, [new Uint8Array(10).fill(2)]);
  });
}

async function work(node: BlockNode, edge: BlockEdge): Promise<void> {
  await edge.write(110 * KIB, [new Uint8Array(3 * KIB).fill(3)]);
  await edge.write(300 * KIB, [new Uint8Array(20 * KIB).fill(4)]);
  await edge.flush();
  await edge.writeZeroes(120 * KIB, 16 * KIB, { unmap: true });
  for (const bitmap of node.dirtyBitmaps) if (bitmap.name === "rests") bitmap.bits.set(0, CHUNK);
}

describe.each([
  [512, 0],
  [512, 1],
  [4096, 0],
])("a failure at any request, clusters of %i, times %i (0 for ever)", (clusterSize, times) => {
  test("never leaves a bitmap that claims to be true and is not", async () => {
    await prepare(clusterSize);
    const before = await content("before.qcow2");
    const all = new FaultController();
    copyFileSync(path("before.qcow2"), path("a.qcow2"));
    await session({ driver: "fault", controller: all, file: fileSpec("a.qcow2") }, work);
    const operation = ["write", "writeZeroes", "discard", "flush", "resize"] as const;
    const changes = all.log.filter((entry) => operation.some((name) => name === entry.operation)).length;
    expect(changes).toBeGreaterThan(10);

    let trustedOnce = 0;
    for (let nth = 1; nth <= changes; nth += 1) {
      const controller = new FaultController({ rules: [{ operation, nth, times, error: "EIO" }] });
      copyFileSync(path("before.qcow2"), path("a.qcow2"));
      await session({ driver: "fault", controller, file: fileSpec("a.qcow2") }, work).catch(
        (error: unknown) => {
          if (!(error instanceof BlockError)) throw error;
        },
      );
      const report = await checkFile(path("a.qcow2"));
      expect(report, `failure ${nth}`).toMatchObject({ corruptions: 0, checkErrors: 0 });
      const after = await content("a.qcow2");
      const bitmaps = await trusted("a.qcow2");
      const follows = bitmaps.get("follows");
      if (follows !== undefined) {
        trustedOnce += 1;
        expect(follows.bits.get(0), `what was dirty before, failure ${nth}`).toBe(true);
        for (let at = 0; at < SIZE; at += CHUNK) {
          if (after.subarray(at, at + CHUNK).equals(before.subarray(at, at + CHUNK))) continue;
          expect(follows.bits.get(at), `${at} was written, failure ${nth}`).toBe(true);
        }
      }
      expect(bitmaps.get("rests")?.bits.get(8 * CHUNK) ?? true).toBe(true);
    }
    // Before the first write nothing is stale, and after the last everything is stored.
    expect(trustedOnce).toBeGreaterThan(0);
    expect((await trusted("before.qcow2")).size).toBe(2);
  });
});
