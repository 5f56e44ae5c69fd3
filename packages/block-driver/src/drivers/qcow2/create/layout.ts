import { BlockError } from "../../../errors.ts";
import { Limits } from "../format/constants.ts";
import type { Geometry } from "../format/geometry.ts";

/** What a new image has to hold. */
export interface LayoutInit {
  readonly geometry: Geometry;
  /** Virtual size in bytes. */
  readonly size: number;
  /** Every cluster of the disk gets its entry in an L2 table. */
  readonly mapped: boolean;
  /** Mapped clusters are in an external data file. */
  readonly dataFile: boolean;
}

/** Where everything of a new image is; all offsets and lengths in bytes. From 0 to `usedClusters` nothing is free. */
export interface Layout {
  readonly refcountTableOffset: number;
  readonly refcountTableClusters: number;
  readonly refcountBlocksOffset: number;
  /** Blocks that exist; the table has room for as many as the disk can come to need. */
  readonly refcountBlocks: number;
  /** 0 when there are no entries. */
  readonly l1Offset: number;
  readonly l1Entries: number;
  readonly l2Offset: number;
  /** L2 tables that exist: all or none. */
  readonly l2Tables: number;
  readonly dataOffset: number;
  /** Clusters of guest data in the image. */
  readonly dataClusters: number;
  readonly usedClusters: number;
  /** Length of the file: up to the last byte that is needed. */
  readonly fileLength: number;
}

/**
 * Places the tables of a new image, one behind the other: header, refcount table, refcount blocks, L1, L2, data. The
 * refcount table gets room for a full disk, so that it need not move as the disk fills.
 * @throws BlockError `EFBIG` when a table would exceed its limit.
 */
export function planLayout({ geometry, size, mapped, dataFile }: LayoutInit): Layout {
  const { clusterSize } = geometry;
  const l1Entries = geometry.l1EntriesFor(size);
  if (l1Entries * 8 > Limits.l1Bytes) {
    const most = Math.floor(Limits.l1Bytes / 8) * geometry.l2Coverage;
    throw new BlockError(
      "EFBIG",
      `a disk of ${size} bytes is too large for clusters of ${clusterSize} bytes (at most ${most}); use larger clusters`,
    );
  }
  const l1Clusters = geometry.clustersFor(l1Entries * 8);
  const l2Tables = mapped ? l1Entries : 0;
  const dataClusters = mapped && !dataFile ? geometry.clustersFor(size) : 0;
  const allData = dataFile ? 0 : geometry.clustersFor(size);
  const full = refcountMetadata(geometry, 1 + l1Clusters + l1Entries + allData);
  const tableClusters = Math.min(full.tableClusters, Math.max(1, Limits.refcountTableBytes / clusterSize));
  const content = 1 + tableClusters + l1Clusters + l2Tables + dataClusters;
  const blocks = blocksFor(geometry, content);
  if (blocks * 8 > tableClusters * clusterSize) {
    throw new BlockError(
      "EFBIG",
      `a preallocated disk of ${size} bytes needs a refcount table above 8 MiB; use larger clusters`,
    );
  }
  const refcountBlocksOffset = (1 + tableClusters) * clusterSize;
  const l1Start = refcountBlocksOffset + blocks * clusterSize;
  const l2Offset = l1Start + l1Clusters * clusterSize;
  const dataOffset = l2Offset + l2Tables * clusterSize;
  const usedClusters = content + blocks;
  return {
    refcountTableOffset: clusterSize,
    refcountTableClusters: tableClusters,
    refcountBlocksOffset,
    refcountBlocks: blocks,
    l1Offset: l1Entries === 0 ? 0 : l1Start,
    l1Entries,
    l2Offset,
    l2Tables,
    dataOffset,
    dataClusters,
    usedClusters,
    fileLength: l2Tables === 0 ? l1Start + l1Entries * 8 : usedClusters * clusterSize,
  };
}

/** Refcount blocks that count `content` clusters and themselves. */
function blocksFor(geometry: Geometry, content: number): number {
  let blocks = 1;
  for (;;) {
    const needed = Math.ceil((content + blocks) / geometry.refcountsPerBlock);
    if (needed <= blocks) return blocks;
    blocks = needed;
  }
}

/** Clusters of refcount table and blocks that count `content` clusters and themselves. */
export function refcountMetadata(
  geometry: Geometry,
  content: number,
): { readonly tableClusters: number; readonly blocks: number } {
  let tableClusters = 1;
  for (;;) {
    const blocks = blocksFor(geometry, content + tableClusters);
    const needed = geometry.clustersFor(blocks * 8);
    if (needed <= tableClusters) return { tableClusters, blocks };
    tableClusters = needed;
  }
}
