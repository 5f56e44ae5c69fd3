/** What a header says about sizes, before anything is derived from it. */
export interface GeometryInit {
  readonly clusterBits: number;
  /** Base-two logarithm of the bits of a refcount, 0 to 6. */
  readonly refcountOrder: number;
  /** L2 entries have 128 bits and describe 32 subclusters. */
  readonly extendedL2: boolean;
  /** L2 entries can say that a cluster reads as zeroes: not in version 2. Default true. */
  readonly hasZeroFlag?: boolean;
}

/** Subclusters in a cluster of an image with extended L2 entries. */
export const SUBCLUSTERS = 32;

/** Sizes that follow from a header. All plain numbers: hot paths divide and multiply, and never shift an offset. */
export class Geometry {
  readonly clusterBits: number;
  readonly clusterSize: number;
  readonly refcountOrder: number;
  readonly refcountBits: number;
  readonly extendedL2: boolean;
  readonly hasZeroFlag: boolean;
  /** Bytes of one L2 entry: 8, or 16 when extended. */
  readonly l2EntryBytes: number;
  /** Entries of one L2 table. */
  readonly l2Entries: number;
  /** Guest bytes that one L2 table maps. */
  readonly l2Coverage: number;
  /** Refcounts in one refcount block. */
  readonly refcountsPerBlock: number;
  /** Unit of allocation as the guest sees it: a subcluster, or a cluster where there are none. */
  readonly subclusterSize: number;
  /** Bits of the byte offset in the descriptor of a compressed cluster (qcow2 specification, "Compressed Clusters Descriptor"). */
  readonly compressedOffsetBits: number;

  constructor({ clusterBits, refcountOrder, extendedL2, hasZeroFlag = true }: GeometryInit) {
    this.clusterBits = clusterBits;
    this.clusterSize = 2 ** clusterBits;
    this.refcountOrder = refcountOrder;
    this.refcountBits = 2 ** refcountOrder;
    this.extendedL2 = extendedL2;
    this.hasZeroFlag = hasZeroFlag;
    this.l2EntryBytes = extendedL2 ? 16 : 8;
    this.l2Entries = this.clusterSize / this.l2EntryBytes;
    this.l2Coverage = this.clusterSize * this.l2Entries;
    this.refcountsPerBlock = (this.clusterSize * 8) / this.refcountBits;
    this.subclusterSize = extendedL2 ? this.clusterSize / SUBCLUSTERS : this.clusterSize;
    this.compressedOffsetBits = 70 - clusterBits;
  }

  /** L1 entries that a disk of `size` bytes needs. */
  l1EntriesFor(size: number): number {
    return Math.ceil(size / this.l2Coverage);
  }

  /** Clusters that `bytes` bytes fill, the last one perhaps in part. */
  clustersFor(bytes: number): number {
    return Math.ceil(bytes / this.clusterSize);
  }

  /** Start of the cluster that holds `offset`. */
  clusterStart(offset: number): number {
    return offset - (offset % this.clusterSize);
  }

  /** End of the cluster that ends at or after `offset`. */
  clusterEnd(offset: number): number {
    return Math.ceil(offset / this.clusterSize) * this.clusterSize;
  }
}
