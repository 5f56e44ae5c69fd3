import { copyFileSync } from "node:fs";
import { expect, test } from "vitest";
import {
  BlockGraph,
  createDefaultRegistry,
  FaultController,
  keepDirtyBitmap,
  type BlockEdge,
  type BlockNode,
  type DeviceSpec,
  type FaultLogEntry,
  type FaultRule,
} from "../../../src/index.ts";
import { failure, parent } from "../../support/graphs.ts";
import { checkFile } from "../support/check.ts";
import { createImage } from "../support/create.ts";
import { scratchFiles } from "../support/scratch.ts";

const MIB = 1024 * 1024;
const CLUSTER = 512;
/** Chunks of 512 bytes: a full bitmap takes four clusters, and a table. */
const SIZE = 8 * MIB;
const CHUNK = 512;

const path = scratchFiles();

interface Opened {
  readonly node: BlockNode;
  readonly edge: BlockEdge;
  readonly close: () => Promise<void>;
}

async function openImage(file: DeviceSpec): Promise<Opened> {
  const graph = new BlockGraph({ registry: createDefaultRegistry() });
  const node = await graph.open({ driver: "qcow2", nodeName: "disk", file, backing: null });
  const edge = graph.attach(node, parent("test", { uses: ["read", "write"] }));
  return { node, edge, close: () => graph.closeAll() };
}

/** Keeps a bitmap in which everything is dirty. */
function keepFull(node: BlockNode, name: string): void {
  const bitmap = node.createDirtyBitmap({ name, granularity: CHUNK });
  bitmap.bits.set(0, SIZE);
  keepDirtyBitmap(node, bitmap);
}

/** An image that stores a bitmap already. */
async function prepare(): Promise<void> {
  await createImage(path("before.qcow2"), SIZE, { clusterSize: CLUSTER });
  const { node, edge, close } = await openImage({ driver: "file", filename: path("before.qcow2") });
  keepFull(node, "old");
  await edge.write(0, [new Uint8Array(CLUSTER).fill(1)]);
  await close();
}

function isHeaderWrite({ operation, offset }: FaultLogEntry): boolean {
  return operation === "write" && offset < CLUSTER;
}

const SPACE = ["write", "writeZeroes", "resize"] as const;

test.each<[string, Partial<FaultRule>]>([
  ["for a moment", { times: 1 }],
  ["for two requests", { times: 2 }],
])("a file that is full %s while bitmaps are stored leaks nothing", async (_how, rule) => {
  await prepare();
  let failuresBefore = 0;
  for (let nth = 1; ; nth += 1) {
    copyFileSync(path("before.qcow2"), path("a.qcow2"));
    const controller = new FaultController();
    const file = { driver: "file", filename: path("a.qcow2") };
    const { node, edge, close } = await openImage({ driver: "fault", controller, file });
    await edge.write(SIZE / 2, [new Uint8Array(CLUSTER).fill(2)]);
    await edge.flush();
    keepFull(node, "new");
    controller.clearLog();
    controller.add({ operation: SPACE, nth, error: "ENOSPC", ...rule });
    const closing = close();
    await closing.catch(() => undefined);
    const at = controller.log.findIndex(({ outcome }) => outcome === "ENOSPC");
    if (at < 0) {
      await closing;
      break;
    }
    const report = await checkFile(path("a.qcow2"));
    expect(report, `failure ${nth}`).toMatchObject({ corruptions: 0, checkErrors: 0 });
    // Once the header may lead to them, the new clusters stay; the old ones need one more write to be free.
    const isSwitching = controller.log.slice(0, at + 1).some((entry) => isHeaderWrite(entry));
    if (isSwitching) continue;
    failuresBefore += 1;
    expect(report.leaks, `failure ${nth}`).toBe(0);
  }
  expect(failuresBefore).toBeGreaterThan(10);
  expect(await checkFile(path("a.qcow2"))).toMatchObject({ corruptions: 0, leaks: 0 });
});

test("a header with no room for bitmaps leaves no clusters behind", async () => {
  const backingFile = "b".repeat(350);
  await createImage(path("a.qcow2"), SIZE, { clusterSize: CLUSTER, backingFile, backingFormat: "raw" });
  const { node, close } = await openImage({ driver: "file", filename: path("a.qcow2") });
  keepFull(node, "new");
  await failure("ENOSPC", close);
  expect(await checkFile(path("a.qcow2"))).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 });
});
