import type { BlockChild } from "../../../contract/device.ts";
import { BlockError } from "../../../errors.ts";
import type { Geometry } from "../format/geometry.ts";
import { COPIED, highWord, lowWord } from "../format/l2-entry.ts";
import { refcountCodec } from "../format/refcount-codec.ts";
import { viewOf, writeU64 } from "../format/u64.ts";
import type { Layout } from "./layout.ts";
import type { ImagePlan } from "./plan-image.ts";

/** Bytes of table built and written at once. */
const STEP = 1024 * 1024;

/** Writes the blocks that count every cluster from 0 to the layout's end as used once. */
export async function writeRefcountBlocks(
  file: BlockChild,
  geometry: Geometry,
  layout: Layout,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { clusterSize, refcountsPerBlock } = geometry;
  const codec = refcountCodec(geometry.refcountOrder);
  const full = new Uint8Array(clusterSize);
  for (let index = 0; index < Math.min(refcountsPerBlock, layout.usedClusters); index += 1) {
    codec.set(full, index, 1);
  }
  for (let block = 0; block < layout.refcountBlocks; block += 1) {
    assertNotAborted(signal);
    const counted = layout.usedClusters - block * refcountsPerBlock;
    // Only the last block counts less than it could.
    for (let index = counted; index < refcountsPerBlock; index += 1) codec.set(full, index, 0);
    await file.write(layout.refcountBlocksOffset + block * clusterSize, [full]);
  }
}

/** Writes the used part of the refcount table; the rest reads as zeroes already. */
export async function writeRefcountTable(
  file: BlockChild,
  geometry: Geometry,
  layout: Layout,
): Promise<void> {
  const bytes = new Uint8Array(layout.refcountBlocks * 8);
  const view = viewOf(bytes);
  for (let block = 0; block < layout.refcountBlocks; block += 1) {
    writeU64(view, block * 8, layout.refcountBlocksOffset + block * geometry.clusterSize);
  }
  await file.write(layout.refcountTableOffset, [bytes]);
}

/** Writes an L1 table that names every L2 table. */
export async function writeL1Table(file: BlockChild, geometry: Geometry, layout: Layout): Promise<void> {
  const bytes = new Uint8Array(layout.l1Entries * 8);
  const view = viewOf(bytes);
  for (let entry = 0; entry < layout.l1Entries; entry += 1) {
    const table = layout.l2Offset + entry * geometry.clusterSize;
    view.setUint32(entry * 8, (COPIED | highWord(table)) >>> 0);
    view.setUint32(entry * 8 + 4, lowWord(table));
  }
  await file.write(layout.l1Offset, [bytes]);
}

/**
 * Writes the L2 tables, which are contiguous, so that every cluster of the disk has its space. With subclusters the
 * space is only reserved, so that a backing file shows through; those of a raw data file hold what it holds.
 */
export async function writeL2Tables(
  file: BlockChild,
  { geometry, layout, headerCluster, dataFileName }: ImagePlan,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { clusterSize, l2EntryBytes } = geometry;
  const clusters = geometry.clustersFor(headerCluster.header.size);
  const base = dataFileName === undefined ? layout.dataOffset : 0;
  const raw = headerCluster.header.autoclear !== 0n;
  const perStep = STEP / l2EntryBytes;
  const bytes = new Uint8Array(Math.min(perStep, clusters) * l2EntryBytes);
  const view = viewOf(bytes);
  for (let first = 0; first < clusters; first += perStep) {
    assertNotAborted(signal);
    const count = Math.min(perStep, clusters - first);
    for (let index = 0; index < count; index += 1) {
      const host = base + (first + index) * clusterSize;
      const at = index * l2EntryBytes;
      view.setUint32(at, (COPIED | highWord(host)) >>> 0);
      view.setUint32(at + 4, lowWord(host));
      if (geometry.extendedL2) view.setUint32(at + 12, raw ? 0xffff_ffff : 0);
    }
    await file.write(layout.l2Offset + first * l2EntryBytes, [bytes.subarray(0, count * l2EntryBytes)]);
  }
}

/** @throws BlockError `ECANCELED` when the creation was cancelled. What was written so far is no image. */
export function assertNotAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted !== true) return;
  throw new BlockError("ECANCELED", "creating a qcow2 image was cancelled", { operation: "create" });
}
