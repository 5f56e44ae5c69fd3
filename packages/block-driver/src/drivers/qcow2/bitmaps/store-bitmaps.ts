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
import { encodeHeaderCluster, type HeaderCluster } from "../format/header-cluster.ts";
import { viewOf, writeU64 } from "../format/u64.ts";
import type { Image } from "../image.ts";
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
  change: BitmapChange,
): Promise<BitmapDirectory | undefined> {
  const { old, preserved } = change;
  const clusters = new BitmapClusters(state);
  const { directory, header } = await writeBitmaps(state, clusters, change);
  // From here on the new clusters stay, whatever fails: a header that points to them may be durable.
  await switchHeader(state, header);
  if (old === undefined) return directory;
  clusters.release(old.extension.directoryOffset, old.extension.directorySize);
  for (const entry of old.entries) if (!preserved.includes(entry)) await clusters.releaseBitmap(entry);
  return directory;
}

/** What is to be stored, durable but for the header that leads to it. After a failure its clusters are free again. */
async function writeBitmaps(
  state: WriteState,
  clusters: BitmapClusters,
  { preserved, kept }: BitmapChange,
): Promise<{ readonly directory: BitmapDirectory | undefined; readonly header: HeaderCluster }> {
  try {
    const entries: BitmapEntry[] = [...preserved];
    for (const bitmap of kept) entries.push(await writeBitmap(state, clusters, bitmap));
    const directory = entries.length === 0 ? undefined : await writeDirectory(clusters, entries);
    const header = headerWith(state.image, directory);
    // A header that does not fit is known before the clusters stay for it.
    encodeHeaderCluster(header, state.image.label);
    // Refcounts of the new clusters and their content: durable before anything points to them.
    await state.commit.flush();
    return { directory, header };
  } catch (error) {
    // What cannot be given back is lost until a check, and says less than why there is nothing to keep it for.
    await clusters.giveBackPlaced().catch(() => {});
    throw error;
  }
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
    if (bytes !== undefined) writeU64(view, index * 8, await clusters.place(bytes));
    index += 1;
  }
  return {
    tableOffset: await clusters.place(table),
    tableEntries: table.length / 8,
    flags: enabled ? BitmapFlag.Auto : 0,
    type: DIRTY_TRACKING,
    granularityBits,
    name: name ?? "",
    extraData: new Uint8Array(0),
  };
}

async function writeDirectory(
  clusters: BitmapClusters,
  entries: readonly BitmapEntry[],
): Promise<BitmapDirectory> {
  const bytes = encodeBitmapDirectory(entries);
  const directoryOffset = await clusters.place(bytes);
  return {
    extension: { count: entries.length, directorySize: bytes.length, directoryOffset },
    entries,
  };
}

function headerWith(image: Image, directory: BitmapDirectory | undefined): HeaderCluster {
  const { backingName, extensions } = image;
  const { autoclear } = image.header;
  const payload = directory === undefined ? undefined : encodeBitmapsExtension(directory.extension);
  return {
    header: {
      ...image.header,
      autoclear: directory === undefined ? autoclear & ~Autoclear.Bitmaps : autoclear | Autoclear.Bitmaps,
    },
    extensions: withExtension(extensions, ExtensionType.Bitmaps, payload),
    backingName,
  };
}
