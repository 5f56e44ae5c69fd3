/**
 * What an extent is. In a layer-local answer exactly one of `Data`, `Zero` and `Deferred` is set; in an answer that
 * was resolved through the backing chain only `Data` and `Zero` remain.
 */
export const ExtentFlag = {
  /** This layer stores the bytes. They may happen to be zero. */
  Data: 1,
  /** Reads as zeroes, by this layer's own word (a hole, a zero cluster). */
  Zero: 2,
  /** This layer holds nothing here: the backing node answers, or zeroes where there is none. */
  Deferred: 4,
  /** The data is stored compressed: the host range is not a copy of it. */
  Compressed: 8,
  /** With `Zero`: this layer stores the range as data, but its storage has a hole there. */
  Hollow: 32,
  /** {@link ExtentList.hostOffsets} holds where the extent starts in the `file` (or `data`) child; with `Deferred`: where it would. */
  HostOffset: 16,
} as const;

/** A combination of {@link ExtentFlag} bits. */
export type ExtentFlags = number;

/** Holes that fill no aligned block of this many bytes need not be told of where no precision is asked for. */
export const COARSE_BLOCK: number = 64 * 1024;

const DEFAULT_CAPACITY = 1024;

/**
 * A batch of contiguous extents, reusable and free of allocation for whoever reads it. Equal neighbours are merged as
 * they are appended. The batch covers `[start, next)`; `next` can be short of what was asked for when the list is
 * full or the driver stops early, but is always beyond `start` for a request of at least one byte.
 */
export class ExtentList {
  /** Greatest number of extents one batch can hold. */
  readonly capacity: number;
  /** Number of extents in this batch. */
  count = 0;
  /** Length in bytes of each extent. */
  readonly lengths: Float64Array;
  /** First byte of each extent. */
  readonly offsets: Float64Array;
  /** {@link ExtentFlag} bits of each extent. */
  readonly flags: Uint8Array;
  /** Where each extent starts in the child that stores it; meaningful with {@link ExtentFlag.HostOffset}. */
  readonly hostOffsets: Float64Array;
  /** How many layers below the one asked the answer came from; 0 is that layer itself. Filters do not count. */
  readonly depths: Uint8Array;
  #next = 0;

  constructor(capacity: number = DEFAULT_CAPACITY) {
    if (!Number.isInteger(capacity) || capacity < 1)
      throw new RangeError("ExtentList: capacity must be at least 1");
    this.capacity = capacity;
    // One piece of memory for all of them: every job and every image has a few lists.
    const memory = new ArrayBuffer(capacity * (3 * Float64Array.BYTES_PER_ELEMENT + 2));
    const words = capacity * Float64Array.BYTES_PER_ELEMENT;
    this.offsets = new Float64Array(memory, 0, capacity);
    this.lengths = new Float64Array(memory, words, capacity);
    this.hostOffsets = new Float64Array(memory, 2 * words, capacity);
    this.flags = new Uint8Array(memory, 3 * words, capacity);
    this.depths = new Uint8Array(memory, 3 * words + capacity, capacity);
  }

  /** End of the batch in bytes: where the next status request continues. */
  get next(): number {
    return this.#next;
  }

  /** Empties the list; the batch starts at `offset`. Every `status` implementation calls it first. */
  reset(offset: number): void {
    this.count = 0;
    this.#next = offset;
  }

  /**
   * Adds `length` bytes of one kind behind the batch, merged with the last extent where flags, depth and host
   * contiguity agree. Returns false, adding nothing, when the list is full.
   */
  append(length: number, flags: ExtentFlags, hostOffset = 0, depth = 0): boolean {
    if (length <= 0) return true;
    const last = this.count - 1;
    if (last >= 0 && this.#continues(last, flags, hostOffset, depth)) {
      this.lengths[last] = (this.lengths[last] ?? 0) + length;
      this.#next += length;
      return true;
    }
    if (this.count === this.capacity) return false;
    this.offsets[this.count] = this.#next;
    this.lengths[this.count] = length;
    this.flags[this.count] = flags;
    this.hostOffsets[this.count] = hostOffset;
    this.depths[this.count] = depth;
    this.count += 1;
    this.#next += length;
    return true;
  }

  /** Cuts the batch so that it ends at `end`; extents beyond are dropped. */
  clip(end: number): void {
    while (this.count > 0 && this.offsetAt(this.count - 1) >= end) this.count -= 1;
    if (this.#next > end) {
      this.#next = end;
      const last = this.count - 1;
      if (last >= 0) this.lengths[last] = end - this.offsetAt(last);
    }
  }

  /** First byte of extent `index`, which must be below `count`. */
  offsetAt(index: number): number {
    return this.offsets[index] ?? outOfList(index);
  }

  /** Length in bytes of extent `index`, which must be below `count`. */
  lengthAt(index: number): number {
    return this.lengths[index] ?? outOfList(index);
  }

  /** {@link ExtentFlag} bits of extent `index`, which must be below `count`. */
  flagsAt(index: number): ExtentFlags {
    return this.flags[index] ?? outOfList(index);
  }

  /** Host offset of extent `index`, which must be below `count`. */
  hostOffsetAt(index: number): number {
    return this.hostOffsets[index] ?? outOfList(index);
  }

  /** Depth of extent `index`, which must be below `count`. */
  depthAt(index: number): number {
    return this.depths[index] ?? outOfList(index);
  }

  #continues(last: number, flags: ExtentFlags, hostOffset: number, depth: number): boolean {
    if (this.flags[last] !== flags || this.depths[last] !== depth) return false;
    if ((flags & ExtentFlag.HostOffset) === 0) return true;
    if ((flags & ExtentFlag.Compressed) !== 0) return false;
    return (this.hostOffsets[last] ?? 0) + (this.lengths[last] ?? 0) === hostOffset;
  }
}

function outOfList(index: number): never {
  throw new RangeError(`ExtentList: no extent ${index}`);
}
