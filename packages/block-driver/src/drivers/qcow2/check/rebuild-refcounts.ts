import { BlockError } from "../../../errors.ts";
import { Limits } from "../format/constants.ts";
import { HeaderField } from "../format/header.ts";
import { refcountCodec } from "../format/refcount-codec.ts";
import { viewOf, writeU64 } from "../format/u64.ts";
import type { CheckedImage } from "./checked-image.ts";
import { findRoom } from "./find-room.ts";
import type { ReferenceMap } from "./reference-map.ts";
import type { RefcountStructure } from "./refcount-structure.ts";
import { assertNotAborted } from "./table-reader.ts";

/**
 * Writes a whole new refcount structure and switches the header to it. The new one lies where nothing is: neither what
 * the image refers to nor the old structure is overwritten, so that a crash before the switch changes nothing.
 * @param map every reference but those of the refcount structure; the new structure's are added.
 * @returns the header's new fields.
 * @throws BlockError `ENOSPC` when a device of fixed size has no room, `EFBIG` when the table would exceed 8 MiB.
 */
export async function rebuildRefcounts(
  image: CheckedImage,
  old: RefcountStructure,
  map: ReferenceMap,
  signal: AbortSignal | undefined,
): Promise<{ readonly refcountTableOffset: number; readonly refcountTableClusters: number }> {
  const { file, geometry } = image;
  const { clusterSize, refcountsPerBlock } = geometry;
  const plan = planStructure(image, old, map);
  const { start, blocks, tableClusters } = plan;
  const length = blocks.length + tableClusters;
  for (let cluster = start; cluster < start + length; cluster += 1) map.add(cluster);
  const end = (start + length) * clusterSize;
  if (file.info.size < end) await file.resize(end);
  const codec = refcountCodec(geometry.refcountOrder);
  const table = new Uint8Array(tableClusters * clusterSize);
  const view = viewOf(table);
  const block = new Uint8Array(clusterSize);
  let at = start;
  for (const index of blocks) {
    assertNotAborted(signal);
    block.fill(0);
    for (let within = 0; within < refcountsPerBlock; within += 1) {
      const count = map.get(index * refcountsPerBlock + within);
      if (count > 0) codec.set(block, within, Math.min(count, codec.max));
    }
    await file.write(at * clusterSize, [block]);
    writeU64(view, index * 8, at * clusterSize);
    at += 1;
  }
  const tableOffset = at * clusterSize;
  await file.write(tableOffset, [table]);
  await file.flush();
  const fields = new Uint8Array(12);
  writeU64(viewOf(fields), 0, tableOffset);
  viewOf(fields).setUint32(8, tableClusters);
  await file.write(HeaderField.refcountTable, [fields]);
  await file.flush();
  return { refcountTableOffset: tableOffset, refcountTableClusters: tableClusters };
}

interface StructurePlan {
  /** First cluster of the new structure: blocks, then table. */
  readonly start: number;
  /** Indices of blocks that hold a count, ascending. */
  readonly blocks: readonly number[];
  readonly tableClusters: number;
}

/** Finds room for a structure that also counts itself. */
function planStructure(image: CheckedImage, old: RefcountStructure, map: ReferenceMap): StructurePlan {
  const { geometry, label, file } = image;
  const { refcountsPerBlock, clusterSize } = geometry;
  const counted = blocksWithCounts(map, refcountsPerBlock);
  let length = counted.size + 1;
  for (;;) {
    const start = findRoom(image, old, map, length);
    const indices = new Set(counted);
    const last = Math.floor((start + length - 1) / refcountsPerBlock);
    for (let index = Math.floor(start / refcountsPerBlock); index <= last; index += 1) indices.add(index);
    const blocks = [...indices].sort((a, b) => a - b);
    const tableClusters = geometry.clustersFor(((blocks.at(-1) ?? 0) + 1) * 8);
    if (tableClusters * clusterSize > Limits.refcountTableBytes) {
      throw new BlockError(
        "EFBIG",
        `${label}: ${file.info.size} bytes need a refcount table above 8 MiB; copy the image to a new one`,
        { node: label, operation: "check" },
      );
    }
    if (blocks.length + tableClusters <= length) return { start, blocks, tableClusters };
    length = blocks.length + tableClusters;
  }
}

function blocksWithCounts(map: ReferenceMap, perBlock: number): Set<number> {
  const indices = new Set<number>();
  for (const [first, end] of map.ranges()) {
    for (let cluster = first; cluster < end; cluster += 1) {
      if (map.get(cluster) > 0) indices.add(Math.floor(cluster / perBlock));
    }
  }
  return indices;
}
