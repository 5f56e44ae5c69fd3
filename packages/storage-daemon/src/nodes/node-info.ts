import type { BlockNode, DirtyBitmap } from "@blockmirror/block-driver";
import { stringify, type BlockType, type JsonObject } from "@blockmirror/qmp";
import { inconsistentBitmaps } from "../bitmaps/find-bitmap.ts";
import { imageSnapshots, imageSpecific, qcow2Details } from "./image-specific.ts";
import type { NodeStore } from "./node-store.ts";

type DeviceInfo = BlockType<"BlockDeviceInfo">;
type ImageInfo = BlockType<"ImageInfo">;

/**
 * A node as `query-named-block-nodes` shows it. Typed clients refuse an answer that lacks one of the mandatory members,
 * so all are there; those of throttling are 0.
 *
 * @param isFlat leaves `backing-image` out.
 */
export function describeNode(store: NodeStore, node: BlockNode, isFlat: boolean): DeviceInfo {
  const { info } = node;
  const chain = backingChain(node);
  const bitmaps = describeBitmaps(node);
  const backingFile = chain[1] === undefined ? undefined : fileName(store, chain[1]);
  return {
    file: fileName(store, node),
    "node-name": node.name,
    ro: info.readOnly,
    drv: driverName(store, node),
    ...(backingFile === undefined ? {} : { backing_file: backingFile }),
    // A flat list tells of no chain, so it counts none.
    backing_file_depth: isFlat ? 0 : chain.length - 1,
    encrypted: false,
    detect_zeroes: node.detectZeroes,
    bps: 0,
    bps_rd: 0,
    bps_wr: 0,
    iops: 0,
    iops_rd: 0,
    iops_wr: 0,
    image: describeImage(store, node, isFlat),
    // Writes are settled when they are in the host's cache, and flushes go through to the disk.
    cache: { writeback: true, direct: false, "no-flush": false },
    write_threshold: node.writes.threshold,
    ...(bitmaps.length === 0 ? {} : { "dirty-bitmaps": bitmaps }),
  };
}

/** The bitmaps of a node, newest first; those that the image stores and that cannot be trusted last. */
function describeBitmaps(node: BlockNode): BlockType<"BlockDirtyInfo">[] {
  return [
    ...[...node.dirtyBitmaps].toReversed().map((bitmap) => describeBitmap(bitmap)),
    ...inconsistentBitmaps(node).map(({ name, granularity }) => ({
      name,
      count: 0,
      granularity,
      recording: false,
      busy: false,
      persistent: true,
      inconsistent: true,
    })),
  ];
}

function describeBitmap(bitmap: DirtyBitmap): BlockType<"BlockDirtyInfo"> {
  return {
    ...(bitmap.name === undefined ? {} : { name: bitmap.name }),
    count: bitmap.dirtyBytes,
    granularity: bitmap.granularity,
    recording: bitmap.enabled,
    busy: bitmap.busy,
    persistent: bitmap.persistent,
  };
}

/** The name by which QMP knows the driver of a node. */
function driverName(store: NodeStore, node: BlockNode): string {
  const asked = store.record(node)?.options["driver"];
  return typeof asked === "string" ? asked : node.info.driver;
}

/** The nodes from this one down its backing links; filters are passed through to what they filter. */
export function backingChain(node: BlockNode): BlockNode[] {
  const chain: BlockNode[] = [];
  for (let at: BlockNode | undefined = node; at !== undefined; at = at.child("backing")?.node) {
    while (at.child("filtered") !== undefined) at = at.child("filtered")?.node ?? at;
    chain.push(at);
  }
  return chain;
}

/** The file a node's data are in, or the options that would open it. */
export function fileName(store: NodeStore, node: BlockNode): string {
  if (node.info.filename !== undefined) return node.info.filename;
  const options = store.record(node)?.options;
  if (options === undefined) return node.info.label;
  return `json:${stringify(withoutNodeOptions(options))}`;
}

function withoutNodeOptions(options: JsonObject): JsonObject {
  const {
    "node-name": _name,
    "read-only": _readOnly,
    "auto-read-only": _auto,
    cache: _cache,
    ...rest
  } = options;
  return rest;
}

function describeImage(store: NodeStore, node: BlockNode, isFlat: boolean): ImageInfo {
  const { info } = node;
  const backing = isFlat ? undefined : backingChain(node)[1];
  const cluster = qcow2Details(info)?.clusterSize;
  const isFormat = node.kind === "format";
  return {
    filename: fileName(store, node),
    format: driverName(store, node),
    "virtual-size": info.size,
    ...(isFormat ? { "dirty-flag": info.details?.["dirty"] === true } : {}),
    ...(info.allocatedSize === undefined ? {} : { "actual-size": info.allocatedSize }),
    ...(cluster === undefined ? {} : { "cluster-size": cluster }),
    ...(info.namedBacking === undefined ? {} : namedBacking(store, node, info.namedBacking)),
    ...(backing === undefined ? {} : { "backing-image": describeImage(store, backing, isFlat) }),
    ...imageSnapshots(info),
    ...imageSpecific(node),
  };
}

function namedBacking(
  store: NodeStore,
  node: BlockNode,
  named: { readonly filename: string; readonly format?: string },
): Pick<ImageInfo, "backing-filename" | "full-backing-filename" | "backing-filename-format"> {
  const backing = backingChain(node)[1];
  return {
    "backing-filename": named.filename,
    "full-backing-filename": backing === undefined ? named.filename : fileName(store, backing),
    ...(named.format === undefined ? {} : { "backing-filename-format": named.format }),
  };
}

/** The format of the image on top: the first node below the filters that is one. */
export function formatOf(node: BlockNode): string {
  if (node.kind === "format") return node.info.driver;
  const below = node.child("filtered")?.node;
  return below === undefined ? "raw" : formatOf(below);
}
