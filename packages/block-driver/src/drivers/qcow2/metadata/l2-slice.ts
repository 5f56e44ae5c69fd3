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
  #dirtyFrom = Infinity;
  #dirtyTo = 0;
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
  /** In memory it differs from the file; never evicted before it has been written. */
  get dirty(): boolean {
    return this.#dirtyFrom < this.#dirtyTo;
  }

  /** Words `[from, to)` differ from the file. Only `L2Cache.markDirty` calls it: a cache knows its dirty slices. */
  markDirty(from: number, to: number): void {
    if (from < this.#dirtyFrom) this.#dirtyFrom = from;
    if (to > this.#dirtyTo) this.#dirtyTo = to;
  }

  /** The words that differ from the file, which count as written from now on. */
  takeDirty(): { readonly from: number; readonly to: number } {
    const range = { from: this.#dirtyFrom, to: this.#dirtyTo };
    this.#dirtyFrom = Infinity;
    this.#dirtyTo = 0;
    return range;
  }
}
