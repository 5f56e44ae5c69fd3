import type { ResizeOptions } from "../../../contract/device.ts";
import { BlockError } from "../../../errors.ts";
import { Limits } from "../format/constants.ts";
import { writeL1Location, writeSize } from "../metadata/header-fields.ts";
import { MetadataKind } from "../metadata/metadata-map.ts";
import { mapDataFile, mapNewClusters } from "./map-space.ts";
import type { WriteState } from "./write-state.ts";
import { writeZeroRange, zeroClusters, type WriteZeroData } from "./zero-clusters.ts";
import { unallocatedIsZero, ZeroMode } from "./zero-entry.ts";

const SECTOR = 512;

type Preallocation = NonNullable<ResizeOptions["preallocation"]>;

/**
 * Changes the virtual size. Nothing else runs meanwhile. The recorded size changes in one write, after everything that a
 * larger disk needs is durable, and before anything of a smaller one is given up.
 * @throws BlockError `EINVAL` for a size that is no multiple of 512, and for preallocation with a smaller one; `EFBIG` beyond
 * the largest L1 table; `ENOTSUP` for version 2 images with snapshots (they do not record the size a snapshot had), and for a
 * larger disk over a backing file that is named and not open; what allocating all of a larger disk meets, with the size as it
 * was. A smaller disk can have its new size though giving up the rest of it failed.
 */
export async function resizeImage(
  state: WriteState,
  size: number,
  options: ResizeOptions | undefined,
  writeData: WriteZeroData,
): Promise<void> {
  const { image } = state;
  const { label } = image;
  const context = { node: label, operation: "resize" };
  if (size % SECTOR !== 0) {
    throw new BlockError("EINVAL", `${label}: a size of ${size} bytes is no multiple of ${SECTOR}`, context);
  }
  if (image.header.version < 3 && image.header.snapshotCount > 0) {
    throw new BlockError("ENOTSUP", `${label}: a version 2 image with snapshots cannot be resized`, context);
  }
  const before = image.virtualSize;
  if (size < before && options?.preallocation !== undefined && options.preallocation !== "off") {
    throw new BlockError("EINVAL", `${label}: space can be preallocated for a larger disk only`, context);
  }
  if (size > before) await grow(state, before, size, options?.preallocation ?? "off", writeData);
  else if (size < before) await shrink(state, before, size, writeData);
}

async function grow(
  state: WriteState,
  before: number,
  size: number,
  preallocation: Preallocation,
  writeData: WriteZeroData,
): Promise<void> {
  const { image } = state;
  const { geometry } = image;
  const needed = geometry.l1EntriesFor(size);
  if (needed * 8 > Limits.l1Bytes) {
    throw new BlockError(
      "EFBIG",
      `${image.label}: ${size} bytes need an L1 table of ${needed} entries; with clusters of ${geometry.clusterSize} bytes at most ${(Limits.l1Bytes / 8) * geometry.l2Coverage} bytes are possible`,
      { node: image.label, operation: "resize" },
    );
  }
  if (image.backing === undefined && image.backingName !== undefined) {
    throw new BlockError(
      "ENOTSUP",
      `${image.label}: it names a backing file, which is not open and may be longer; open it with '${image.backingName}', or it would show in the new part`,
      { node: image.label, operation: "resize" },
    );
  }
  if (needed > image.l1.entries) await growL1(state, needed);
  if (image.hasDataFile && state.data.size < size) await state.data.resize(size);
  // Whatever was left behind the old end by a shrink, by another program or by a longer backing file must read as zeroes.
  // The disk is longer in memory already, so that its new part can be written; on disk it is not until that is durable.
  image.virtualSize = size;
  try {
    await clearNewPart(state, before, size, writeData);
    await preallocate(state, before, size, preallocation, writeData);
    await state.commit.flush();
    await recordSize(state, size);
  } catch (error) {
    if (preallocation !== "off") await giveUp(state, before, size, writeData).catch(() => {});
    image.virtualSize = before;
    throw error;
  }
}

async function preallocate(
  state: WriteState,
  before: number,
  size: number,
  preallocation: Preallocation,
  writeData: WriteZeroData,
): Promise<void> {
  // Zeroes as data take their space, and need no size of their own: clusters, tables and refcounts come with them.
  if (preallocation === "full") await writeData(before, size);
  if (preallocation !== "metadata") return;
  const start = state.image.geometry.clusterEnd(before);
  if (state.image.hasDataFile) await mapDataFile(state, start, size);
  else await mapNewClusters(state, start, size);
}

/** Lets go of what was allocated behind the end of a disk that does not become larger after all. */
async function giveUp(
  state: WriteState,
  before: number,
  size: number,
  writeData: WriteZeroData,
): Promise<void> {
  if (state.fence.failure !== undefined) return;
  await zeroClusters(state, state.image.geometry.clusterEnd(before), size, ZeroMode.Drop, writeData);
}

async function clearNewPart(
  state: WriteState,
  before: number,
  size: number,
  writeData: WriteZeroData,
): Promise<void> {
  const { image } = state;
  const { geometry } = image;
  const backingEnd = image.backing?.info.size ?? 0;
  // The surplus of the last cluster holds whatever its last writer put there.
  const clusterEnd = Math.min(size, geometry.clusterEnd(before));
  if (before < clusterEnd) {
    if (image.header.version < 3 && !unallocatedIsZero(state)) await writeData(before, clusterEnd);
    else await writeZeroRange(state, before, clusterEnd, { unmap: false, noFallback: false }, writeData);
  }
  const shown = Math.min(size, backingEnd);
  if (clusterEnd < shown) {
    if (image.header.version < 3) await writeData(clusterEnd, shown);
    else await zeroClusters(state, clusterEnd, geometry.clusterEnd(shown), ZeroMode.Unmap, writeData);
  }
  const rest = Math.max(clusterEnd, geometry.clusterEnd(shown));
  // Entries beyond the end of the disk are no part of it: what they hold is dropped.
  if (rest < size) await zeroClusters(state, rest, size, ZeroMode.Drop, writeData);
  if (state.rawDataFile) {
    await state.data.writeZeroes(before, size - before);
    await mapDataFile(state, clusterEnd, size);
  }
}

/** A longer L1 table is written whole to a new place before the header points to it. */
async function growL1(state: WriteState, entries: number): Promise<void> {
  const { image, file, map, allocator } = state;
  const { clusterSize } = image.geometry;
  const clusters = Math.ceil((entries * 8) / clusterSize);
  const old = {
    cluster: image.header.l1Offset / clusterSize,
    count: Math.ceil((image.header.l1Entries * 8) / clusterSize),
  };
  const placed = await allocator.allocateAtEnd(clusters);
  try {
    // The entries must not point to tables that are not there yet.
    await state.commit.flush();
    const bytes = new Uint8Array(clusters * clusterSize);
    bytes.set(image.l1.encode());
    await file.write(placed * clusterSize, [bytes]);
  } catch (error) {
    if (state.fence.failure === undefined) await allocator.giveBack(placed, clusters).catch(() => {});
    throw error;
  }
  await state.fence.flush();
  const header = { ...image.header, l1Entries: entries, l1Offset: placed * clusterSize };
  try {
    await writeL1Location(file, header);
  } catch (error) {
    // Which of the two tables the header points to is unknown now.
    state.fence.flushFailed(error);
    throw error;
  }
  image.header = header;
  // Not before: an entry that the table in the file has no room for would be written behind its end.
  image.l1.grow(entries);
  map.add(MetadataKind.L1Table, placed, clusters);
  map.remove(MetadataKind.L1Table, old.cluster, old.count);
  await state.fence.flush();
  if (old.count > 0) state.released.add(old.cluster, old.count, false);
}

async function shrink(
  state: WriteState,
  before: number,
  size: number,
  writeData: WriteZeroData,
): Promise<void> {
  const { image } = state;
  const { geometry } = image;
  // Writes that were promised to be durable must not depend on what is about to be given up.
  await state.commit.flush();
  await recordSize(state, size);
  const clusterEnd = Math.min(before, geometry.clusterEnd(size));
  try {
    if (size < clusterEnd) await clearSurplus(state, size, clusterEnd, writeData);
  } finally {
    image.virtualSize = size;
  }
  if (clusterEnd < before) {
    await zeroClusters(state, clusterEnd, geometry.clusterEnd(before), ZeroMode.Drop, writeData);
  }
  dropTables(state, geometry.l1EntriesFor(size), geometry.l1EntriesFor(before));
  state.shrunk = true;
  if (image.hasDataFile && state.data.info.can.resize === "both") await state.data.resize(size);
}

/** The rest of the last cluster would show again if the disk grew. */
async function clearSurplus(
  state: WriteState,
  size: number,
  clusterEnd: number,
  writeData: WriteZeroData,
): Promise<void> {
  if (state.image.header.version < 3 && !unallocatedIsZero(state)) await writeData(size, clusterEnd);
  else await writeZeroRange(state, size, clusterEnd, { unmap: false, noFallback: false }, writeData);
}

/** Gives up L2 tables that map nothing of the disk any more; those that never did are not the disk's. */
function dropTables(state: WriteState, firstIndex: number, endIndex: number): void {
  const { image, map, released } = state;
  const { clusterSize } = image.geometry;
  for (let index = firstIndex; index < endIndex; index += 1) {
    const offset = image.l1.offsetOf(index);
    if (offset === 0) continue;
    image.l2.dropTable(index);
    image.l1.set(index, 0);
    map.remove(MetadataKind.L2Table, offset / clusterSize);
    released.add(offset / clusterSize, 1, false);
  }
}

async function recordSize(state: WriteState, size: number): Promise<void> {
  const header = { ...state.image.header, size };
  try {
    await writeSize(state.file, header);
  } catch (error) {
    // It may have arrived nevertheless. Behind the end of a smaller disk even what is flushed would be lost.
    state.commit.restoreSize();
    throw error;
  }
  await state.fence.flush();
  state.image.header = header;
}
