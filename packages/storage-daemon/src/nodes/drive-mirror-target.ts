import { open, rm } from "node:fs/promises";
import { skipFilters, type BlockNode } from "@blockmirror/block-driver";
import type { BackingMode } from "@blockmirror/mirror";
import { commandError, type BlockCommands } from "@blockmirror/qmp";
import { containerOptions } from "./container-options.ts";
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
 * Opens the file or export that `drive-mirror` names, after creating the file unless it is to exist already. The node goes when nobody
 * uses it any more.
 *
 * @throws QmpError or BlockError; a file that was created is removed again then.
 */
export async function prepareDriveMirrorTarget(
  nodes: NodeStore,
  source: BlockNode,
  args: BlockCommands["drive-mirror"]["arguments"],
): Promise<DriveMirrorTarget> {
  const container = containerOptions(args.target);
  // An export has no name in the file system.
  const filename = typeof container["filename"] === "string" ? container["filename"] : undefined;
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
  const file = isNew ? filename : undefined;
  if (file !== undefined) await refuseOpenImage(nodes.graph, file);
  const existed = file !== undefined && (await fileExists(file));
  // What was there before is somebody's, even if its content is to go.
  const remove = async (): Promise<void> => {
    if (file !== undefined && !existed) await rm(file, { force: true });
  };
  try {
    const backing = isNew ? recordedBacking(source, args.sync) : undefined;
    if (isNew) await create(nodes, { name: args.target, filename, format }, source, backing);
    const canStandOn = nodes.graph.registry.get(format).options.fields["backing"] !== undefined;
    const node = await nodes.openTemporary({
      driver: format,
      ...(nodeName === undefined ? {} : { "node-name": nodeName }),
      file: container,
      // Guests' writes are copied in whole chunks, so that nothing below is needed before guests are led here.
      ...(canStandOn ? { backing: null } : {}),
    });
    if (isNew && node.size < source.size) {
      await nodes.handOver(node);
      throw commandError(`Cannot grow the export '${args.target}' to ${source.size} bytes`);
    }
    return {
      node,
      // Where it will stand on something, zeroes of the source have to be zeroes of its own; an export has its old content.
      isZero: isNew && backing === undefined && (filename !== undefined || format !== "raw"),
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

/** What is to be made: a file, or an image in an export, which is there and has the size it has. */
interface NewImage {
  /** As the command says it. */
  readonly name: string;
  /** Undefined for an export. */
  readonly filename: string | undefined;
  readonly format: string;
}

/** Makes an image of the source's size. */
async function create(
  nodes: NodeStore,
  { name, filename, format }: NewImage,
  { size }: BlockNode,
  backing: BlockNode | undefined,
): Promise<void> {
  const { graph } = nodes;
  if (backing !== undefined && format !== "qcow2") {
    throw commandError(`An image of format '${format}' cannot have a backing image: use qcow2, or sync full`);
  }
  if (filename !== undefined) {
    await graph.create("file", { filename, size: format === "raw" ? size : 0, overwrite: true });
  }
  if (format === "raw") return;
  await graph.create(format, {
    file: filename === undefined ? { driver: "nbd", uri: name } : { driver: "file", filename },
    size,
    ...(backing === undefined
      ? {}
      : { backingFile: fileName(nodes, backing), backingFormat: formatOf(backing) }),
  });
}

/**
 * The format that the first bytes announce; raw when none does.
 * @throws QmpError for an export: what is behind one is a guest's to write, and would be opened as what it says it is.
 */
async function probe(nodes: NodeStore, filename: string | undefined): Promise<string> {
  if (filename === undefined) {
    throw commandError("Parameter 'format' is missing; the format of an export is not guessed");
  }
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
