import type { HBitmap } from "@blockmirror/hbitmap";
import { BlockError } from "../../../errors.ts";
import { isZero } from "../../../io/zero-page.ts";
import { bitmapTableEntries, bitmapTableEntry, type BitmapEntry } from "../format/bitmap-directory.ts";
import { readHost } from "../metadata/host-read.ts";
import type { BitmapSource } from "./read-directory.ts";

/** Bytes of the disk that one cluster of bitmap data describes. */
function bytesPerCluster(clusterSize: number, granularity: number): number {
  return clusterSize * 8 * granularity;
}

/**
 * Reads the table of a bitmap.
 * @throws BlockError `BLK_CORRUPT` when it lies outside the file.
 */
export async function readBitmapTable(source: BitmapSource, entry: BitmapEntry): Promise<Uint8Array> {
  const { file, label } = source;
  const length = entry.tableEntries * 8;
  if (entry.tableOffset + length > source.geometry.clusterEnd(file.info.size)) {
    throw new BlockError("BLK_CORRUPT", `${label}: the table of bitmap '${entry.name}' is outside the file`, {
      node: label,
    });
  }
  const table = new Uint8Array(length);
  await readHost(file, entry.tableOffset, [table]);
  return table;
}

/**
 * Reads a stored bitmap (qcow2 specification, "Bitmap data"); bits beyond the end of the disk are ignored.
 * @throws BlockError `BLK_CORRUPT` when its table does not fit the disk or points nowhere.
 */
export async function readBitmapData(source: BitmapSource, entry: BitmapEntry, into: HBitmap): Promise<void> {
  const { file, geometry, label } = source;
  const { clusterSize } = geometry;
  const step = bytesPerCluster(clusterSize, into.granularity);
  if (entry.tableEntries !== bitmapTableEntries(into.size, entry.granularityBits, clusterSize)) {
    throw new BlockError(
      "BLK_CORRUPT",
      `${label}: bitmap '${entry.name}' is not made for a disk of ${into.size} bytes`,
      { node: label },
    );
  }
  const table = await readBitmapTable(source, entry);
  const bytes = new Uint8Array(clusterSize);
  for (let index = 0; index < entry.tableEntries; index += 1) {
    const start = index * step;
    const count = Math.min(step, into.size - start);
    const part = bitmapTableEntry(table, index, clusterSize, label);
    if (part.kind === "zeroes") into.deserializeZeroes(start, count);
    else if (part.kind === "ones") into.deserializeOnes(start, count);
    else if (part.offset >= file.info.size) {
      throw new BlockError("BLK_CORRUPT", `${label}: data of bitmap '${entry.name}' is outside the file`, {
        node: label,
      });
    } else {
      await readHost(file, part.offset, [bytes]);
      into.deserialize(start, count, bytes);
    }
  }
}

/**
 * The clusters of a bitmap's data, one after the other; undefined for one that holds nothing but zeroes. The bytes are
 * valid until the next one is asked for.
 */
export function* bitmapClusters(bits: HBitmap, clusterSize: number): Generator<Uint8Array | undefined> {
  const step = bytesPerCluster(clusterSize, bits.granularity);
  const bytes = new Uint8Array(clusterSize);
  for (let start = 0; start < bits.size; start += step) {
    const count = Math.min(step, bits.size - start);
    if (bits.nextDirty(start, count) < 0) {
      yield undefined;
      continue;
    }
    bytes.fill(0);
    bits.serialize(start, count, bytes);
    yield isZero(bytes) ? undefined : bytes;
  }
}
