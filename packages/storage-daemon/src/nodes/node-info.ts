import { skipFilters, type BlockNode, type DirtyBitmap } from "@blockmirror/block-driver";
import { stringify, type BlockType, type JsonObject } from "@blockmirror/qmp";
import { inconsistentBitmaps } from "../bitmaps/find-bitmap.ts";
import { imageSnapshots, imageSpecific, qcow2Details } from "./image-specific.ts";
import { exportUri } from "./export-uri.ts";
import type { NodeStore } from "./node-store.ts";

type DeviceInfo = BlockType<"BlockDeviceInfo">;
type ImageInfo = BlockType<"ImageInfo">;

/**
 * A node as `query-named-block-nodes` shows it. Typed clients refuse an answer that lacks one of the mandatory members,
 * so all are there; those of throttling are 0: they tell of guests' devices, not of `throttle` nodes.
 *
 * @param isFlat leaves `backing-image` out.
 */
export function describeNode(store: NodeStore, node: BlockNode, isFlat: boolean): DeviceInfo {
  const { info } = node;
  const bitmaps = describeBitmaps(node);
  const below = imageBelow(store, node);
  const backing = isShownFilter(store, node) ? undefined : below;
  return {
    file: shownName(store, node),
    "node-name": node.name,
    ro: info.readOnly,
    drv: driverName(store, node),
    ...(backing === undefined ? {} : { backing_file: shownName(store, backing) }),
    // A flat list tells of no chain, so it counts none.
    backing_file_depth: isFlat ? 0 : depthOf(store, node),
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
  const uri = uriOf(store, node, options);
  if (uri !== undefined) return uri;
  return `json:${stringify(withoutNodeOptions(options))}`;
}

/** The export that a node is, or that the image in it is opened from without more being said. */
function uriOf(store: NodeStore, node: BlockNode, options: JsonObject): string | undefined {
  if (options["driver"] === "nbd") return exportUri(options);
  const below = node.kind === "format" ? node.child("file")?.node : undefined;
  const said = below === undefined ? undefined : store.record(below)?.options;
  const isWindow = options["offset"] !== undefined || options["size"] !== undefined;
  return below === undefined || said === undefined || isWindow ? undefined : uriOf(store, below, said);
}

function withoutNodeOptions(options: JsonObject): JsonObject {
  const {
    "node-name": _name,
    "read-only": _readOnly,
    "auto-read-only": _auto,
    "detect-zeroes": _detectZeroes,
    "force-share": _forceShare,
    discard: _discard,
    cache: _cache,
    ...rest
  } = options;
  return rest;
}

/** Filters of a user's that are shown as layers of their own: no file name opens them, only options do. */
const SHOWN_FILTERS: ReadonlySet<string> = new Set(["copy-on-read", "throttle"]);

function isShownFilter(store: NodeStore, node: BlockNode): boolean {
  return node.kind === "filter" && SHOWN_FILTERS.has(node.info.driver) && store.record(node) !== undefined;
}

/** The child that a node's bytes are in. */
function storageBelow(node: BlockNode): BlockNode | undefined {
  return (node.child("filtered") ?? node.child("file"))?.node;
}

/** The name that queries show: the file's, or options where a filter stands above the file. */
function shownName(store: NodeStore, node: BlockNode): string {
  for (let at: BlockNode | undefined = node; at !== undefined; at = storageBelow(at)) {
    if (isShownFilter(store, at)) return `json:${stringify(openingOptions(store, node))}`;
  }
  return fileName(store, node);
}

/** The options that open a node and what its bytes are in, with nothing given by the name of a node. */
function openingOptions(store: NodeStore, node: BlockNode): JsonObject {
  const { backing: _backing, ...own } = withoutNodeOptions(store.record(node)?.options ?? {});
  const below = storageBelow(node);
  return {
    driver: driverName(store, node),
    ...own,
    ...(below === undefined ? {} : { file: openingOptions(store, below) }),
  };
}

/** The next image of the chain that queries show: what a filter of a user's filters, or the backing image. */
function imageBelow(store: NodeStore, node: BlockNode): BlockNode | undefined {
  const shown = skipHidden(store, node);
  const below = (isShownFilter(store, shown) ? shown.child("filtered") : shown.child("backing"))?.node;
  return below === undefined ? undefined : skipHidden(store, below);
}

/** Filters of jobs are passed through. */
function skipHidden(store: NodeStore, node: BlockNode): BlockNode {
  let at = node;
  while (!isShownFilter(store, at)) {
    const filtered = at.child("filtered")?.node;
    if (filtered === undefined) break;
    at = filtered;
  }
  return at;
}

function depthOf(store: NodeStore, node: BlockNode): number {
  const below = imageBelow(store, node);
  return below === undefined ? 0 : 1 + depthOf(store, below);
}

function describeImage(store: NodeStore, node: BlockNode, isFlat: boolean): ImageInfo {
  const { info } = node;
  const below = isFlat ? undefined : imageBelow(store, node);
  const isFilter = isShownFilter(store, node);
  const cluster = qcow2Details((isFilter ? skipFilters(node) : node).info)?.clusterSize;
  return {
    filename: shownName(store, node),
    format: driverName(store, node),
    "virtual-size": info.size,
    ...(node.kind === "format" || isFilter ? { "dirty-flag": info.details?.["dirty"] === true } : {}),
    ...(info.allocatedSize === undefined ? {} : { "actual-size": info.allocatedSize }),
    ...(cluster === undefined ? {} : { "cluster-size": cluster }),
    ...(info.namedBacking === undefined || isFilter ? {} : namedBacking(store, node, info.namedBacking)),
    ...(below === undefined ? {} : { "backing-image": describeImage(store, below, isFlat) }),
    ...imageSnapshots(info),
    ...imageSpecific(node),
  };
}

function namedBacking(
  store: NodeStore,
  node: BlockNode,
  named: { readonly filename: string; readonly format?: string },
): Pick<ImageInfo, "backing-filename" | "full-backing-filename" | "backing-filename-format"> {
  const backing = imageBelow(store, node);
  return {
    "backing-filename": named.filename,
    "full-backing-filename": backing === undefined ? named.filename : shownName(store, backing),
    ...(named.format === undefined ? {} : { "backing-filename-format": named.format }),
  };
}

/** The format of the image on top: the first node below the filters that is one. */
export function formatOf(node: BlockNode): string {
  if (node.kind === "format") return node.info.driver;
  const below = node.child("filtered")?.node;
  return below === undefined ? "raw" : formatOf(below);
}
