import { BlockError } from "../../../errors.ts";
import { Autoclear, CompressionType, Incompatible, Limits } from "./constants.ts";
import { corruptHeader, geometryOf, hasFeature, type Header } from "./header.ts";

/** How an image is about to be used, as far as its header decides what is allowed. */
export interface HeaderUse {
  /** A table that only writers need may be missing when nobody writes. */
  readonly writable: boolean;
  /** A repair opens what is refused otherwise: a missing refcount table, the corrupt bit. */
  readonly repair: boolean;
}

/**
 * Checks that fields agree with each other and stay within limits, before any table is read.
 * @throws BlockError `BLK_CORRUPT`, `EFBIG`, `ENOTSUP` or `EACCES` (the corrupt bit forbids writing).
 */
export function checkHeader(header: Header, label: string, use: HeaderUse): void {
  const clusterSize = 2 ** header.clusterBits;
  if (header.backingNameOffset > clusterSize)
    throw corruptHeader(label, "the backing file name is outside the header cluster");
  if (header.backingNameOffset !== 0 && header.backingNameOffset < header.headerLength) {
    throw corruptHeader(label, "the backing file name lies within the header");
  }
  checkBackingName(header, clusterSize, label);
  checkCompression(header, label);
  if (hasFeature(header.incompatible, Incompatible.Corrupt) && use.writable && !use.repair) {
    throw new BlockError(
      "EACCES",
      `${label}: marked corrupt; it can be read, or repaired by 'blockmirror check --repair all'`,
      { node: label, operation: "open" },
    );
  }
  if (hasFeature(header.incompatible, Incompatible.ExtendedL2) && header.clusterBits < 14) {
    throw corruptHeader(
      label,
      `extended L2 entries need clusters of at least 16 KiB, not 2^${header.clusterBits}`,
    );
  }
  if (header.refcountOrder > 6)
    throw corruptHeader(label, `refcounts of 2^${header.refcountOrder} bits; 64 is the most`);
  if (header.encryption > 2) throw corruptHeader(label, `unsupported encryption method ${header.encryption}`);
  checkAutoclear(header, label);
  checkRefcountTable(header, clusterSize, label, use);
  checkSnapshotTable(header, clusterSize, label);
  checkL1(header, clusterSize, label);
}

function checkBackingName(
  { backingNameOffset, backingNameLength }: Header,
  clusterSize: number,
  label: string,
): void {
  if (backingNameOffset === 0) return;
  if (backingNameLength > Math.min(Limits.backingNameBytes, clusterSize - backingNameOffset)) {
    throw corruptHeader(label, `a backing file name of ${backingNameLength} bytes is too long`);
  }
}

function checkCompression({ version, incompatible, compressionType }: Header, label: string): void {
  if (version === 2) return;
  const announced = hasFeature(incompatible, Incompatible.CompressionType);
  if (compressionType > CompressionType.Zstd) {
    throw new BlockError("ENOTSUP", `${label}: unknown compression type ${compressionType}`, {
      node: label,
      operation: "open",
    });
  }
  if (announced !== (compressionType !== CompressionType.Deflate)) {
    throw corruptHeader(label, `compression type ${compressionType} disagrees with its feature bit`);
  }
}

function checkAutoclear(
  { incompatible, autoclear, backingNameOffset, backingNameLength }: Header,
  label: string,
): void {
  if (!hasFeature(autoclear, Autoclear.RawDataFile)) return;
  if (!hasFeature(incompatible, Incompatible.DataFile))
    throw corruptHeader(label, "a raw data file is announced, but no data file");
  if (backingNameOffset !== 0 && backingNameLength !== 0)
    throw corruptHeader(label, "a raw data file excludes a backing file");
}

function checkRefcountTable(header: Header, clusterSize: number, label: string, use: HeaderUse): void {
  const { refcountTableOffset: offset, refcountTableClusters: clusters } = header;
  if (clusters * clusterSize > Limits.refcountTableBytes) {
    throw new BlockError("EFBIG", `${label}: the refcount table of ${clusters} clusters is too large`, {
      node: label,
      operation: "open",
    });
  }
  if (use.repair || !use.writable) return;
  if (clusters === 0)
    throw corruptHeader(label, "there is no refcount table; 'blockmirror check --repair all' makes one");
  checkTable("refcount table", offset, clusters * clusterSize, clusterSize, label);
  if (offset < clusterSize) throw corruptHeader(label, "the refcount table lies within the header cluster");
}

function checkSnapshotTable(
  { snapshotCount, snapshotsOffset }: Header,
  clusterSize: number,
  label: string,
): void {
  if (snapshotCount > Limits.snapshots) {
    throw new BlockError("EFBIG", `${label}: the snapshot table of ${snapshotCount} entries is too large`, {
      node: label,
      operation: "open",
    });
  }
  checkTable("snapshot table", snapshotsOffset, snapshotCount * 40, clusterSize, label);
  if (snapshotCount > 0 && snapshotsOffset < clusterSize) {
    throw corruptHeader(label, "the snapshot table lies within the header cluster");
  }
}

function checkL1(header: Header, clusterSize: number, label: string): void {
  const { l1Entries, l1Offset, size } = header;
  if (l1Entries * 8 > Limits.l1Bytes) {
    throw new BlockError("EFBIG", `${label}: the L1 table of ${l1Entries} entries is too large`, {
      node: label,
      operation: "open",
    });
  }
  checkTable("L1 table", l1Offset, l1Entries * 8, clusterSize, label);
  if (l1Entries < geometryOf(header).l1EntriesFor(size)) {
    throw corruptHeader(label, `the L1 table of ${l1Entries} entries is too small for ${size} bytes`);
  }
  if (l1Entries > 0 && l1Offset < clusterSize)
    throw corruptHeader(label, "the L1 table lies within the header cluster");
}

function checkTable(what: string, offset: number, length: number, clusterSize: number, label: string): void {
  if (offset % clusterSize !== 0 || offset + length > Limits.hostOffset) {
    throw corruptHeader(label, `the offset of the ${what} is invalid`);
  }
}
