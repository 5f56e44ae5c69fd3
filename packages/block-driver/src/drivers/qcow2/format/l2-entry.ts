import type { Geometry } from "./geometry.ts";

/*
 * Table entries are kept as two 32-bit words, because neither a double nor a bitwise operator holds 64 bits: `high` is
 * bits 32 to 63, `low` bits 0 to 31. An extended L2 entry has two words more: the bits that say "reads as zeroes", then
 * the bits that say "allocated", one for each subcluster.
 */

const WORD = 2 ** 32;

/** Bit 63 of L1 and L2 entries, in the high word: the refcount of what it points to is exactly one. */
export const COPIED = 0x8000_0000;
/** Bit 62 of an L2 entry, in the high word. */
export const COMPRESSED = 0x4000_0000;
/** Bit 0 of a standard L2 entry, in the low word: reads as zeroes. */
export const ZERO = 1;

/** Reserved bits of a standard L2 entry, which are ignored in use and reported by a check. */
export const L2_RESERVED = { high: 0x3f00_0000, low: 0x1fe } as const;
/** Reserved bits of an L1 entry. */
export const L1_RESERVED = { high: 0x7f00_0000, low: 0x1ff } as const;

/** The host offset in bits 9 to 55 of an L1, L2 or refcount table entry. It can be beyond 2^53 in a hostile image. */
export function hostOffsetOf(high: number, low: number): number {
  return (high & 0x00ff_ffff) * WORD + ((low & 0xffff_fe00) >>> 0);
}

/** The high word that stores `offset`, without flags. */
export function highWord(offset: number): number {
  return Math.floor(offset / WORD);
}

/** The low word that stores `offset`, without flags. */
export function lowWord(offset: number): number {
  return offset % WORD;
}

/** What a cluster or a subcluster is (qcow2 specification, "Cluster mapping"). */
export const ClusterType = {
  /** Nothing here: the backing file answers. */
  Unallocated: 0,
  /** Reads as zeroes, without host space. */
  ZeroPlain: 1,
  /** Reads as zeroes, host space is reserved and its content undefined. */
  ZeroAllocated: 2,
  /** Stored in the image. */
  Normal: 3,
  /** Stored compressed. Always a whole cluster. */
  Compressed: 4,
  /** Extended only: host space is reserved, the backing file answers. */
  UnallocatedReserved: 5,
  /** The entry contradicts itself: corruption. */
  Invalid: 6,
} as const;

/** One of {@link ClusterType}. */
export type ClusterType = (typeof ClusterType)[keyof typeof ClusterType];

/**
 * Classifies a standard L2 entry. With an external data file a cluster at host offset 0 is told from an unallocated one
 * by its COPIED bit; one that reads as zeroes cannot be, and counts as without a place. Without the zero flag, which version 2
 * does not have, an entry with its bit contradicts itself.
 */
export function clusterType(high: number, low: number, dataFile: boolean, hasZeroFlag = true): ClusterType {
  if ((high & COMPRESSED) !== 0) return dataFile ? ClusterType.Invalid : ClusterType.Compressed;
  const allocated = (high & 0x00ff_ffff) !== 0 || (low & 0xffff_fe00) !== 0;
  if ((low & ZERO) !== 0) {
    if (!hasZeroFlag) return ClusterType.Invalid;
    return allocated ? ClusterType.ZeroAllocated : ClusterType.ZeroPlain;
  }
  if (allocated || (dataFile && (high & COPIED) !== 0)) return ClusterType.Normal;
  return ClusterType.Unallocated;
}

/**
 * Classifies subcluster `index` (0 to 31) of an extended L2 entry. The whole bitmap is validated, not only the bits of
 * the subcluster that was asked for, so that a bad entry is found whichever part is touched first.
 */
export function subclusterType(
  high: number,
  low: number,
  zeroBits: number,
  allocatedBits: number,
  index: number,
  dataFile: boolean,
): ClusterType {
  if ((high & COMPRESSED) !== 0) return dataFile ? ClusterType.Invalid : ClusterType.Compressed;
  if ((zeroBits & allocatedBits) !== 0) return ClusterType.Invalid;
  const hosted =
    (high & 0x00ff_ffff) !== 0 || (low & 0xffff_fe00) !== 0 || (dataFile && (high & COPIED) !== 0);
  if (!hosted && allocatedBits !== 0) return ClusterType.Invalid;
  if (((zeroBits >>> index) & 1) !== 0) return hosted ? ClusterType.ZeroAllocated : ClusterType.ZeroPlain;
  if (((allocatedBits >>> index) & 1) !== 0) return ClusterType.Normal;
  return hosted ? ClusterType.UnallocatedReserved : ClusterType.Unallocated;
}

/** Where a compressed cluster is stored. Reused by its reader: nothing is allocated per cluster. */
export interface CompressedRange {
  /** First byte of the stream. */
  offset: number;
  /** Bytes to read from there: to the end of the last sector, which may belong to the next cluster already. */
  length: number;
  /** Start of the first 512-byte sector: the refcounted range is `[sectorStart, offset + length)`. */
  sectorStart: number;
}

/**
 * Decodes the descriptor of a compressed cluster into `range`. False when the offset has bits above 55 (only possible
 * with clusters below 16 KiB), which no host offset has.
 */
export function decodeCompressed(
  high: number,
  low: number,
  geometry: Geometry,
  range: CompressedRange,
): boolean {
  // The split between offset and sector count is always within the high word: it is bit 49 to 61.
  const split = geometry.compressedOffsetBits - 32;
  const descriptor = high & 0x3fff_ffff;
  const offsetHigh = descriptor & (2 ** split - 1);
  const extraSectors = descriptor >>> split;
  if (offsetHigh > 0x00ff_ffff) return false;
  range.offset = offsetHigh * WORD + low;
  range.sectorStart = range.offset - (range.offset % 512);
  range.length = (extraSectors + 1) * 512 - (range.offset % 512);
  return true;
}
