import { HeaderField } from "../format/header.ts";
import { viewOf, writeU64 } from "../format/u64.ts";
import type { CheckedImage } from "./checked-image.ts";
import { findRoom } from "./find-room.ts";
import type { ReferenceMap } from "./reference-map.ts";
import type { RefcountStructure } from "./refcount-structure.ts";
import { encodeRepairedEntries } from "./snapshot-entries.ts";
import type { SnapshotList } from "./snapshot-list.ts";

/** A snapshot table that is to replace the one in the file. */
export interface NewSnapshotTable {
  readonly bytes: Uint8Array;
  /** The clusters it goes to, `[first, end)`: nothing uses them. */
  readonly first: number;
  readonly end: number;
}

/**
 * Plans a table with every entry set right, in a place of its own, which the file is made large enough for.
 * @param map every reference; the new table's are added.
 * @returns undefined when the table would be too large.
 * @throws BlockError `ENOSPC` when a device of fixed size has no room, and what the file meets.
 */
export async function planSnapshotTable(
  image: CheckedImage,
  list: SnapshotList,
  structure: RefcountStructure,
  map: ReferenceMap,
): Promise<NewSnapshotTable | undefined> {
  const { file, geometry } = image;
  const bytes = await encodeRepairedEntries(image, list);
  if (bytes === undefined) return undefined;
  const count = geometry.clustersFor(bytes.length);
  const first = findRoom(image, structure, map, count);
  const end = first + count;
  for (let cluster = first; cluster < end; cluster += 1) map.add(cluster);
  if (file.info.size < end * geometry.clusterSize) await file.resize(end * geometry.clusterSize);
  return { bytes, first, end };
}

/**
 * Writes the new table and switches the header to it in one write. Its clusters are counted on disk by now, so that a
 * crash leaves the old table in force, or the new one and a leak (commit rule 8).
 */
export async function switchToSnapshotTable(
  { file, geometry, header }: CheckedImage,
  { bytes, first }: NewSnapshotTable,
): Promise<void> {
  const offset = first * geometry.clusterSize;
  await file.write(offset, [bytes]);
  await file.flush();
  const fields = new Uint8Array(12);
  viewOf(fields).setUint32(0, header.snapshotCount);
  writeU64(viewOf(fields), 4, offset);
  await file.write(HeaderField.snapshots, [fields]);
  await file.flush();
}
