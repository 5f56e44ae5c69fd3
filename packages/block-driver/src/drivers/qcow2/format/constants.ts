/** First four bytes of every qcow2 image: `QFI` and 0xfb. */
export const QCOW2_MAGIC = 0x514649fb;

/** Length in bytes of the version 2 header; the extensions of such an image start here. */
export const V2_HEADER_LENGTH = 72;
/** Shortest header of version 3. */
export const V3_HEADER_LENGTH = 104;
/** Length of the header this driver writes: with the compression type, padded to 8. */
export const WRITTEN_HEADER_LENGTH = 112;

/** Incompatible features: software that does not know a set bit must not open the image. */
export const Incompatible = {
  /** Refcounts may be stale; mappings are to be trusted. */
  Dirty: 1n,
  /** Metadata may be broken; only a repair may write. */
  Corrupt: 2n,
  /** Guest data is in another file, at host offset = guest offset. */
  DataFile: 4n,
  /** The compression type in the header is not deflate. */
  CompressionType: 8n,
  /** L2 entries of 128 bits with 32 subclusters. */
  ExtendedL2: 16n,
} as const;

/** Every incompatible feature that this driver understands. */
export const KNOWN_INCOMPATIBLE = 31n;

/** Compatible features: unknown bits are ignored and preserved. */
export const Compatible = { LazyRefcounts: 1n } as const;

/** Autoclear features: unknown bits are cleared before the first write. */
export const Autoclear = {
  /** The bitmaps extension is consistent. */
  Bitmaps: 1n,
  /** The data file alone is a valid raw image. */
  RawDataFile: 2n,
} as const;

/** Every autoclear feature that this driver understands. */
export const KNOWN_AUTOCLEAR = 3n;

/** Type numbers of header extensions. */
export const ExtensionType = {
  End: 0,
  BackingFormat: 0xe2792aca,
  FeatureNames: 0x6803f857,
  Bitmaps: 0x23852875,
  Encryption: 0x0537be77,
  DataFileName: 0x44415441,
} as const;

/**
 * Type of an extension that is no more than a gap: a header update that was interrupted may leave it in front of the
 * others. Like every unknown extension it means nothing to other software.
 */
export const GAP_EXTENSION = 0x426d4761;

/** Values of the header's compression type. */
export const CompressionType = { Deflate: 0, Zstd: 1 } as const;

/** Limits that QEMU sets too: what is beyond them is refused before anything is allocated for it. */
export const Limits = {
  minClusterBits: 9,
  maxClusterBits: 21,
  /** Host offsets have 56 bits: 64 PiB. */
  hostOffset: 0x100_0000_0000_0000,
  /** 32 MiB. */
  l1Bytes: 0x200_0000,
  /** 8 MiB. */
  refcountTableBytes: 0x80_0000,
  snapshots: 65536,
  /** 64 MiB. */
  snapshotTableBytes: 0x400_0000,
  snapshotExtraBytes: 1024,
  backingNameBytes: 1023,
  backingFormatBytes: 15,
  /** Our own: a cluster has room for thousands of empty extensions, and no honest image has more than a few. */
  extensions: 256,
} as const;
