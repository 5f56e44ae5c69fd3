import {
  COMPRESSED,
  clusterType,
  ClusterType,
  COPIED,
  decodeCompressed,
  hostOffsetOf,
  L2_RESERVED,
  type CompressedRange,
} from "../format/l2-entry.ts";
import { viewOf } from "../format/u64.ts";
import type { CheckedImage } from "./checked-image.ts";
import type { References } from "./references.ts";

/** How the disk is stored; counted for the active layer only. */
export interface LayerStatistics {
  allocated: number;
  fragmented: number;
  compressed: number;
}

/** One L2 table, and who names it. */
export interface ScannedTable {
  readonly bytes: Uint8Array;
  /** Host offset, for messages. */
  readonly offset: number;
  /** Index of the L1 entry that names it first. */
  readonly l1Index: number;
  /** How many L1 entries name it. */
  readonly times: number;
}

/** Counts what the entries of L2 tables refer to, and tells what is wrong with them. */
export class L2Scan {
  readonly #image: CheckedImage;
  readonly #references: References;
  readonly #range: CompressedRange = { offset: 0, length: 0, sectorStart: 0 };
  readonly #step: number;

  constructor(image: CheckedImage, references: References) {
    this.#image = image;
    this.#references = references;
    this.#step = image.geometry.l2EntryBytes;
  }

  /**
   * Scans a table.
   * @param statistics counts clusters, for the active layer.
   * @param repairs preallocated zero clusters at impossible offsets are not counted but handed back: they read as zeroes
   * all the same, so that they can be repaired.
   * @returns indices of those entries.
   */
  scan(table: ScannedTable, statistics: LayerStatistics | undefined, repairs: boolean): readonly number[] {
    const { geometry } = this.#image;
    const view = viewOf(table.bytes);
    const repairable: number[] = [];
    let next = 0;
    for (let index = 0; index < geometry.l2Entries; index += 1) {
      const at = index * this.#step;
      const high = view.getUint32(at);
      const low = view.getUint32(at + 4);
      const zeroBits = geometry.extendedL2 ? view.getUint32(at + 8) : 0;
      const allocatedBits = geometry.extendedL2 ? view.getUint32(at + 12) : 0;
      if (high === 0 && low === 0 && allocatedBits === 0) continue;
      if ((high & COMPRESSED) !== 0) {
        this.#compressed(table, index, high, low, zeroBits !== 0 || allocatedBits !== 0, statistics);
        continue;
      }
      if ((high & L2_RESERVED.high) !== 0 || (low & L2_RESERVED.low) !== 0) {
        this.#complain(table, index, "has reserved bits set");
      }
      const type = this.#typeOf(high, low);
      if (type === ClusterType.Unallocated || type === ClusterType.ZeroPlain) {
        if (allocatedBits !== 0) this.#complain(table, index, "has subclusters, but no space for them");
        continue;
      }
      if ((zeroBits & allocatedBits) !== 0) {
        this.#complain(table, index, "has subclusters that are both allocated and zero");
      }
      const offset = hostOffsetOf(high, low);
      if (repairs && type === ClusterType.ZeroAllocated && offset % geometry.clusterSize !== 0) {
        repairable.push(index);
        continue;
      }
      if (statistics !== undefined) {
        statistics.allocated += table.times;
        if (next !== 0 && offset !== next) statistics.fragmented += table.times;
      }
      next = offset + geometry.clusterSize;
      this.#stored(table, index, offset);
    }
    return repairable;
  }

  /** With subclusters a cluster is stored as soon as it has an offset; what is zero is told by its bits. */
  #typeOf(high: number, low: number): ClusterType {
    const { geometry, hasDataFile } = this.#image;
    return clusterType(high, geometry.extendedL2 ? (low & ~1) >>> 0 : low, hasDataFile);
  }

  /** Counts a cluster that is stored as it is. */
  #stored(table: ScannedTable, index: number, offset: number): void {
    const { geometry, hasDataFile } = this.#image;
    const aligned = offset % geometry.clusterSize === 0;
    if (!aligned) this.#complain(table, index, "has an offset that is not aligned to a cluster");
    if (!hasDataFile) {
      this.#references.add(offset, geometry.clusterSize, table.times);
    } else if (aligned) {
      const guest = table.l1Index * geometry.l2Coverage + index * geometry.clusterSize;
      const wrong = table.times - (offset === guest ? 1 : 0);
      if (wrong > 0) this.#complain(table, index, "is not where the data file has it", wrong);
    }
  }

  #compressed(
    table: ScannedTable,
    index: number,
    high: number,
    low: number,
    hasBits: boolean,
    statistics: LayerStatistics | undefined,
  ): void {
    if (this.#image.hasDataFile) {
      this.#complain(table, index, "is compressed, which a data file excludes");
      return;
    }
    if (hasBits) {
      this.#complain(table, index, "is compressed and has subclusters");
      return;
    }
    if ((high & COPIED) !== 0) this.#complain(table, index, "is compressed and marked as copied");
    if (statistics !== undefined) {
      statistics.allocated += table.times;
      statistics.compressed += table.times;
      // Compressed clusters share sectors with their neighbours, which cannot be read in one go.
      statistics.fragmented += table.times;
    }
    if (!decodeCompressed(high, low, this.#image.geometry, this.#range)) {
      this.#complain(table, index, "is compressed at an impossible offset");
      return;
    }
    const { sectorStart, offset, length } = this.#range;
    this.#references.add(sectorStart, offset + length - sectorStart, table.times);
  }

  #complain(table: ScannedTable, index: number, what: string, times = table.times): void {
    this.#references.findings.corruption(
      `entry ${index} of the L2 table at 0x${table.offset.toString(16)} ${what}`,
      times,
    );
  }
}
