/** What reading has asked of the files below, so that waste shows without a clock. */
export interface ReadCounters {
  /** Requests that were one run of stored bytes, answered by one read below. */
  direct: number;
  /** Reads of stored bytes in the image or its data file, and how many bytes they were. */
  dataReads: number;
  dataBytes: number;
  /** Reads of the backing file. */
  backingReads: number;
  backingBytes: number;
  /** Reads of compressed data. One serves many clusters; a byte between two of them may be read and not used. */
  compressedReads: number;
  compressedBytes: number;
  /** Clusters decoded. */
  compressedClusters: number;
  /** Bytes that were filled with zeroes without any read. */
  zeroBytes: number;
}

/** Counters that have counted nothing. */
export function newReadCounters(): ReadCounters {
  return {
    direct: 0,
    dataReads: 0,
    dataBytes: 0,
    backingReads: 0,
    backingBytes: 0,
    compressedReads: 0,
    compressedBytes: 0,
    compressedClusters: 0,
    zeroBytes: 0,
  };
}
