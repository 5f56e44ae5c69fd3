import type { KeptBitmap } from "../../../contract/bitmap-store.ts";
import {
  BitmapFlag,
  bitmapTableEntries,
  DIRTY_TRACKING,
  encodeBitmapDirectory,
  encodeBitmapsExtension,
  type BitmapEntry,
} from "../format/bitmap-directory.ts";
import { Autoclear, ExtensionType } from "../format/constants.ts";
import { withExtension } from "../format/extensions.ts";
import { viewOf, writeU64 } from "../format/u64.ts";
import { switchHeader } from "../metadata/header-switch.ts";
import type { WriteState } from "../write/write-state.ts";
import { BitmapClusters } from "./bitmap-clusters.ts";
import { bitmapClusters } from "./bitmap-data.ts";
import type { BitmapDirectory } from "./read-directory.ts";

/** What a store has to bring about. */
export interface BitmapChange {
  /** What is stored now. */
  readonly old: BitmapDirectory | undefined;
  /** Stored bitmaps that stay as they are. */
  readonly preserved: readonly BitmapEntry[];
  /** Bitmaps to be written. */
  readonly kept: readonly KeptBitmap[];
}

/**
 * Writes bitmaps into fresh clusters, switches the header to them, and gives the old ones back (qcow2
 * specification, "Bitmaps extension"; commit rules 1, 2 and 8).
 * @returns what is stored then.
 */
export async function storeBitmaps(
  state: WriteState,
  { old, preserved, kept }: BitmapChange,
): Promise<BitmapDirectory | undefined> {
  const clusters = new BitmapClusters(state);
  const entries: BitmapEntry[] = [...preserved];
  for (const bitmap of kept) entries.push(await writeBitmap(state, clusters, bitmap));
  const directory = entries.length === 0 ? undefined : await writeDirectory(state, clusters, entries);
  // Refcounts of the new clusters and their content: durable before anything points to them.
  await state.commit.flush();
  await recordDirectory(state, directory);
  if (old === undefined) return directory;
  clusters.release(old.extension.directoryOffset, old.extension.directorySize);
  for (const entry of old.entries) if (!preserved.includes(entry)) await clusters.releaseBitmap(entry);
  return directory;
}

async function writeBitmap(
  state: WriteState,
  clusters: BitmapClusters,
  { name, granularity, enabled, bits }: KeptBitmap,
): Promise<BitmapEntry> {
  const { clusterSize } = state.image.geometry;
  const granularityBits = Math.log2(granularity);
  const tableEntries = bitmapTableEntries(bits.size, granularityBits, clusterSize);
  // A disk of no bytes has a bitmap of no bits, and a table all the same.
  const table = new Uint8Array(Math.max(1, tableEntries) * 8);
  const view = viewOf(table);
  let index = 0;
  for (const bytes of bitmapClusters(bits, clusterSize)) {
    if (bytes !== undefined) writeU64(view, index * 8, await place(state, clusters, bytes));
    index += 1;
  }
  return {
    tableOffset: await place(state, clusters, table),
    tableEntries: table.length / 8,
    flags: enabled ? BitmapFlag.Auto : 0,
    type: DIRTY_TRACKING,
    granularityBits,
    name: name ?? "",
    extraData: new Uint8Array(0),
  };
}

async function writeDirectory(
  state: WriteState,
  clusters: BitmapClusters,
  entries: readonly BitmapEntry[],
): Promise<BitmapDirectory> {
  const bytes = encodeBitmapDirectory(entries);
  const directoryOffset = await place(state, clusters, bytes);
  return {
    extension: { count: entries.length, directorySize: bytes.length, directoryOffset },
    entries,
  };
}

/** Writes bytes to new clusters, padded with zeroes to whole ones. */
async function place(state: WriteState, clusters: BitmapClusters, bytes: Uint8Array): Promise<number> {
  const { clusterSize } = state.image.geometry;
  const count = Math.ceil(bytes.length / clusterSize);
  const cluster =
    count === 1 ? (await state.allocator.allocate(1)).cluster : await state.allocator.allocateAtEnd(count);
  const offset = cluster * clusterSize;
  const padding = new Uint8Array(count * clusterSize - bytes.length);
  await state.file.write(offset, padding.length === 0 ? [bytes] : [bytes, padding]);
  clusters.guard(offset, bytes.length);
  return offset;
}

async function recordDirectory(state: WriteState, directory: BitmapDirectory | undefined): Promise<void> {
  const { image } = state;
  const payload = directory === undefined ? undefined : encodeBitmapsExtension(directory.extension);
  const extensions = withExtension(image.extensions, ExtensionType.Bitmaps, payload);
  const { autoclear } = image.header;
  const header = {
    ...image.header,
    autoclear: directory === undefined ? autoclear & ~Autoclear.Bitmaps : autoclear | Autoclear.Bitmaps,
  };
  const { backingName } = image;
  await switchHeader(state, { header, extensions, backingName });
}
