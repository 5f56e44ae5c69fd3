/**
 * A contiguous part of one L2 table in memory, decoded to words. It is loaded, used and written as a unit.
 */
export class L2Slice {
  /** Index of the table in the L1 table. */
  readonly l1Index: number;
  /** Index of the first entry of the slice in its table. */
  readonly firstEntry: number;
  /** First guest byte that the slice maps. */
  readonly guestOffset: number;
  /** Where the slice is in the file; changes when its table is copied to another cluster. */
  hostOffset: number;
  /**
   * Two words for each entry, high then low; four when extended: then the bits that read as zeroes and the bits that are
   * allocated.
   */
  readonly words: Uint32Array;
  /** Users that rely on the slice staying in memory; it is not evicted while there is one. */
  pins = 0;
  /** In memory it differs from the file; never evicted before it has been written. */
  dirty = false;
  /** Second chance of eviction: set by every use, taken by the search for a victim. */
  recentlyUsed = true;

  constructor(
    l1Index: number,
    firstEntry: number,
    guestOffset: number,
    hostOffset: number,
    words: Uint32Array,
  ) {
    this.l1Index = l1Index;
    this.firstEntry = firstEntry;
    this.guestOffset = guestOffset;
    this.hostOffset = hostOffset;
    this.words = words;
  }
}
