import { open, rm } from "node:fs/promises";
import { skipFilters, type BlockNode } from "@blockmirror/block-driver";
import type { BackingMode } from "@blockmirror/mirror";
import { commandError, type BlockCommands } from "@blockmirror/qmp";
import type { NodeStore } from "./node-store.ts";
import { fileName, formatOf } from "./node-info.ts";
import { fileExists, refuseOpenImage } from "./open-image.ts";

type MirrorSync = BlockCommands["drive-mirror"]["arguments"]["sync"];

/** Enough of an image for every driver's probe. */
const PROBE_BYTES = 4096;

/** The node that `drive-mirror` copies to. */
export interface DriveMirrorTarget {
  readonly node: BlockNode;
  /** It was made just now, and reads as zeroes for good where nothing is written. */
  readonly isZero: boolean;
  /** What it is to stand on when the job succeeds. Until then it stands on nothing. */
  readonly backingMode: BackingMode;
  /** The job uses the node now. */
  handOver(): Promise<void>;
  /** Takes everything back: the job did not start. */
  undo(): Promise<void>;
}

/**
 * Opens the file that `drive-mirror` names, after creating it unless it is to exist already. The node goes when nobody
 * uses it any more.
 *
 * @throws QmpError or BlockError; a file that was created is removed again then.
 */
export async function prepareDriveMirrorTarget(
  nodes: NodeStore,
  source: BlockNode,
  args: BlockCommands["drive-mirror"]["arguments"],
): Promise<DriveMirrorTarget> {
  const { target: filename } = args;
  const nodeName = args["node-name"];
  if (nodeName !== undefined) nodes.requireFree(nodeName);
  else if (args.replaces !== undefined) {
    throw commandError("a node-name must be provided when replacing a named node of the graph");
  }
  const isNew = args.mode !== "existing";
  const format = args.format ?? (isNew ? formatOf(source) : await probe(nodes, filename));
  if (!nodes.graph.registry.has(format) || nodes.graph.registry.get(format).kind !== "format") {
    throw commandError(`Unknown driver '${format}'`);
  }
  if (isNew) await refuseOpenImage(nodes.graph, filename);
  const existed = isNew && (await fileExists(filename));
  // What was there before is somebody's, even if its content is to go.
  const remove = async (): Promise<void> => {
    if (isNew && !existed) await rm(filename, { force: true });
  };
  try {
    const backing = isNew ? recordedBacking(source, args.sync) : undefined;
    if (isNew) await create(nodes, filename, format, source, backing);
    const canStandOn = nodes.graph.registry.get(format).options.fields["backing"] !== undefined;
    const node = await nodes.openTemporary({
      driver: format,
      ...(nodeName === undefined ? {} : { "node-name": nodeName }),
      file: { driver: "file", filename },
      // Guests' writes are copied in whole chunks, so that nothing below is needed before guests are led here.
      ...(canStandOn ? { backing: null } : {}),
    });
    return {
      node,
      // Where it will stand on something, zeroes of the source have to be zeroes of its own.
      isZero: isNew && backing === undefined,
      backingMode: isNew ? "source-chain" : "open-chain",
      handOver: () => nodes.handOver(node),
      undo: async () => {
        await nodes.handOver(node);
        await remove();
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** The image that a new target names as its backing file: whatever holds what the job does not copy. */
function recordedBacking(source: BlockNode, sync: MirrorSync): BlockNode | undefined {
  const image = skipFilters(source);
  if (sync === "none") return image;
  return sync === "top" ? image.child("backing")?.node : undefined;
}

/** Makes an image of the source's size. */
async function create(
  nodes: NodeStore,
  filename: string,
  format: string,
  { size }: BlockNode,
  backing: BlockNode | undefined,
): Promise<void> {
  const { graph } = nodes;
  if (backing !== undefined && format !== "qcow2") {
    throw commandError(`An image of format '${format}' cannot have a backing image: use qcow2, or sync full`);
  }
  await graph.create("file", { filename, size: format === "raw" ? size : 0, overwrite: true });
  if (format === "raw") return;
  await graph.create(format, {
    file: { driver: "file", filename },
    size,
    ...(backing === undefined
      ? {}
      : { backingFile: fileName(nodes, backing), backingFormat: formatOf(backing) }),
  });
}

/** The format that the first bytes announce; raw when none does. */
async function probe(nodes: NodeStore, filename: string): Promise<string> {
  const { registry } = nodes.graph;
  const head = Buffer.alloc(PROBE_BYTES);
  const handle = await open(filename, "r");
  try {
    const { bytesRead } = await handle.read(head, 0, PROBE_BYTES, 0);
    const { size } = await handle.stat();
    for (const name of registry.names()) {
      if ((registry.get(name).probe?.(head.subarray(0, bytesRead), size) ?? 0) === 100) return name;
    }
    return "raw";
  } finally {
    await handle.close();
  }
}
