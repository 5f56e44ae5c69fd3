import { checkAligned, checkInteger, checkPowerOfTwo, checkRange } from "./checks.ts";
import type { DirtyArea, DirtyStatus, HBitmapOptions } from "./contract.ts";
import { HBitmapIterator } from "./iterator.ts";
import { Levels, allocate } from "./levels.ts";
import { orLevels } from "./merge.ts";
import { clearBits, countBits, setBits } from "./ranges.ts";
import { nextClearBit, nextSetBit, testBit } from "./search.ts";
import { SERIAL_BITS, loadBits, serialBytes, storeBits } from "./serialization.ts";

/**
 * A bitmap of dirty groups of items, with coarser levels above it that make finding the next dirty group as
 * cheap in an empty terabyte as in a full one. Behaves as QEMU's hierarchical bitmap does.
 *
 * One bit stands for a *group* of `granularity` items; a group is dirty or clean as a whole. Every position
 * and count in this API is in items. Nothing is asynchronous, and every method leaves the bitmap consistent.
 * Wrong arguments are refused with a RangeError before anything changes.
 *
 * Memory: one bit per group, plus 1/31 of it for the coarser levels.
 */
export class HBitmap {
  readonly #granularity: number;
  readonly #levels: Levels;
  #size: number;
  #meta: HBitmap | undefined;

  /**
   * Makes a clean bitmap.
   *
   * @throws RangeError when `size` or `granularity` is out of range, when more than 2^35 groups are needed, or
   * when there is not enough memory; the remedy for the last two is a larger granularity.
   */
  constructor(options: HBitmapOptions) {
    const { size, granularity = 1 } = options;
    checkInteger("size", size);
    checkPowerOfTwo("granularity", granularity);
    this.#size = size;
    this.#granularity = granularity;
    this.#levels = new Levels(Math.ceil(size / granularity));
  }

  /** Items tracked. */
  get size(): number {
    return this.#size;
  }

  /** Items per bit. */
  get granularity(): number {
    return this.#granularity;
  }

  /**
   * Dirty items, counting every dirty group in full: it exceeds {@link size} when the last group reaches beyond
   * the end and is dirty. {@link countRange} does not overshoot.
   */
  get count(): number {
    return this.#levels.dirtyBits * this.#granularity;
  }

  /** Whether nothing is dirty. */
  get isEmpty(): boolean {
    return this.#levels.dirtyBits === 0;
  }

  /** Bytes of memory behind the bits, all levels together. */
  get byteLength(): number {
    let bytes = 0;
    for (const words of this.#levels.words) bytes += words.byteLength;
    return bytes;
  }

  /**
   * Marks every group touched by the range dirty (it rounds outwards). Does nothing when `count` is 0.
   *
   * @throws RangeError when the range reaches beyond the last group.
   */
  set(start: number, count: number): void {
    checkRange(start, count, this.#capacity());
    if (count === 0) return;
    const added = setBits(this.#levels, this.#group(start), this.#lastGroup(start, count));
    if (added !== 0) this.#meta?.set(start, count);
  }

  /**
   * Marks the groups of the range clean. Does nothing when `count` is 0.
   *
   * A group is cleaned only when asked for in full, as cleaning for the sake of one item would forget the
   * others: `start` must be a multiple of the granularity, and so must `count` unless the range ends at `size`.
   *
   * @throws RangeError when the range is not aligned so or reaches beyond the last group.
   */
  reset(start: number, count: number): void {
    checkRange(start, count, this.#capacity());
    if (count === 0) return;
    checkAligned(start, count, this.#granularity, this.#size);
    const removed = clearBits(this.#levels, this.#group(start), this.#lastGroup(start, count));
    if (removed !== 0) this.#meta?.set(start, count);
  }

  /** Marks everything clean. Does not touch a meta bitmap. */
  resetAll(): void {
    this.#levels.clear();
  }

  /**
   * Whether the group of `item` is dirty.
   *
   * @throws RangeError when `item` is not below {@link size}.
   */
  get(item: number): boolean {
    if (!Number.isSafeInteger(item) || item < 0 || item >= this.#size) {
      throw new RangeError(`item must be below the bitmap's size of ${this.#size}: got ${item}`);
    }
    return testBit(this.#levels, this.#group(item));
  }

  /**
   * Dirty items in the range, which is clipped to {@link size}. Costs one look per 1024 clean groups and one
   * popcount per 32 others, so it is fit for drawing a map of the bitmap.
   */
  countRange(start: number, count: number): number {
    const end = this.#end(start, count);
    if (end <= start) return 0;
    const first = this.#group(start);
    const last = this.#lastGroup(start, end - start);
    const granularity = this.#granularity;
    let items = countBits(this.#levels, first, last) * granularity;
    if (items === 0) return 0;
    // The outer groups may be only partly inside.
    if (testBit(this.#levels, first)) items -= start - first * granularity;
    if (testBit(this.#levels, last)) items -= (last + 1) * granularity - end;
    return items;
  }

  /**
   * The first dirty item in the range, which is clipped to {@link size}; -1 when there is none.
   *
   * @param count length of the range; without it, to the end.
   */
  nextDirty(start: number, count: number = Number.MAX_SAFE_INTEGER): number {
    const end = this.#end(start, count);
    if (end <= start) return -1;
    const bit = nextSetBit(this.#levels, this.#group(start));
    if (bit < 0) return -1;
    const item = Math.max(start, bit * this.#granularity);
    return item < end ? item : -1;
  }

  /**
   * The first clean item in the range, which is clipped to {@link size}; -1 when there is none. Costs one look
   * per 32 dirty groups it has to step over.
   *
   * @param count length of the range; without it, to the end.
   */
  nextZero(start: number, count: number = Number.MAX_SAFE_INTEGER): number {
    const end = this.#end(start, count);
    return end <= start ? -1 : this.#nextZero(start, end);
  }

  /**
   * The first run of dirty items that begins at or after `start`, cut at `end`, at {@link size} and at
   * `maxLength` items. A run that is already going on at `start` counts as beginning there.
   *
   * @param end first item not to look at; may exceed {@link size}.
   * @param maxLength at least 1; bounds the time spent as well as the answer.
   * @param into receives the answer and is returned, so that nothing is allocated; untouched when there is none.
   * @returns the run, or undefined when nothing in the range is dirty.
   */
  nextDirtyArea(
    start: number,
    end: number = this.#size,
    maxLength: number = Number.MAX_SAFE_INTEGER,
    into?: DirtyArea,
  ): DirtyArea | undefined {
    checkInteger("end", end);
    checkInteger("maxLength", maxLength, 1);
    const first = this.nextDirty(start, Math.max(0, end - start));
    if (first < 0) return undefined;
    const limit = Math.min(end, this.#size, first + maxLength);
    const clean = this.#nextZero(first, limit);
    const length = (clean < 0 ? limit : clean) - first;
    if (into === undefined) return { start: first, length };
    into.start = first;
    into.length = length;
    return into;
  }

  /**
   * Whether `start` is dirty and how many items from there on, within the range, are the same.
   *
   * @param count at least 1; the range must lie inside {@link size}.
   * @param into receives the answer and is returned, so that nothing is allocated.
   */
  status(start: number, count: number, into: DirtyStatus = { dirty: false, length: 0 }): DirtyStatus {
    checkInteger("count", count, 1);
    checkRange(start, count, this.#size);
    const end = start + count;
    const dirty = testBit(this.#levels, this.#group(start));
    const change = dirty ? this.#nextZero(start, end) : this.nextDirty(start, count);
    into.dirty = dirty;
    into.length = (change < 0 ? end : change) - start;
    return into;
  }

  /**
   * Starts a walk over the dirty groups from the group of `first` on; see {@link HBitmapIterator} for what it
   * guarantees while the bitmap changes.
   *
   * @param first item within the bitmap's groups; default 0, which is allowed for an empty bitmap too.
   * @throws RangeError when `first` is outside the bitmap.
   */
  iterate(first = 0): HBitmapIterator {
    return new HBitmapIterator(this.#levels, this.#granularity, first);
  }

  /**
   * Gives the bitmap another size. Groups wholly beyond the new end are dropped, one that straddles it keeps
   * its bit, new groups are clean. A meta bitmap follows.
   *
   * No iterator may be in use when the number of groups changes: it throws on its next step.
   *
   * @throws RangeError when `size` is out of range or needs too much memory; nothing has changed then.
   */
  truncate(size: number): void {
    checkInteger("size", size);
    const groups = Math.ceil(size / this.#granularity);
    const old = this.#levels.bits;
    // What may fail comes first, so that a refusal changes nothing.
    const words = groups === old ? undefined : allocate(groups);
    this.#meta?.truncate(size);
    if (groups < old) clearBits(this.#levels, groups, old - 1);
    if (words !== undefined) this.#levels.moveTo(words, groups);
    this.#size = size;
  }

  /** Marks dirty here what is dirty in `other`, which must have the same size. See {@link HBitmap.merge}. */
  merge(other: HBitmap): void {
    HBitmap.merge(this, other, this);
  }

  /**
   * Makes `result` the union of `a` and `b`. `result` may be either of them; otherwise its old content is gone.
   * The three must have the same size. Granularities may differ: a group is then dirty in the result when any
   * of its items was. Meta bitmaps are not touched.
   *
   * @throws RangeError when the sizes differ.
   */
  static merge(a: HBitmap, b: HBitmap, result: HBitmap): void {
    if (a.size !== b.size || a.size !== result.size) {
      throw new RangeError(
        `bitmaps to merge must have the same size: got ${a.size} and ${b.size} into ${result.size}`,
      );
    }
    if (result !== a && result !== b) result.resetAll();
    if (result !== a) result.#add(a);
    if (result !== b) result.#add(b);
  }

  /**
   * Items by which serialized ranges must be aligned: 64 groups. A range that ends at {@link size} may be
   * shorter.
   */
  get serializationAlign(): number {
    return SERIAL_BITS * this.#granularity;
  }

  /**
   * Bytes that the range takes when serialized, a multiple of 8.
   *
   * @throws RangeError unless `start` and `count` are multiples of {@link serializationAlign} (the range may
   * also end at {@link size}) and the range is inside the bitmap. So do the methods below.
   */
  serializedSize(start: number, count: number): number {
    this.#checkSerial(start, count);
    return serialBytes(Math.ceil(count / this.#granularity));
  }

  /**
   * Writes the bits of the range to the start of `into`: bit 0 of byte 0 is the first group; padding is zero.
   * The bytes do not depend on the machine.
   *
   * @returns bytes written, which is {@link serializedSize}.
   * @throws RangeError when the range is not aligned or `into` is too small.
   */
  serialize(start: number, count: number, into: Uint8Array): number {
    const bytes = this.#serialBytes(start, count, into);
    if (count > 0) storeBits(this.#levels, this.#group(start), this.#groups(count), into);
    return bytes;
  }

  /**
   * Replaces the bits of the range by those that {@link serialize} wrote. What `from` holds beyond the bitmap's
   * end is ignored. The bitmap is consistent after every part: there is no step to finish loading.
   *
   * @returns bytes read, which is {@link serializedSize}.
   * @throws RangeError when the range is not aligned or `from` is too short.
   */
  deserialize(start: number, count: number, from: Uint8Array): number {
    const bytes = this.#serialBytes(start, count, from);
    if (count > 0) loadBits(this.#levels, this.#group(start), this.#groups(count), from);
    return bytes;
  }

  /** Like {@link deserialize} of bytes that are all zero. */
  deserializeZeroes(start: number, count: number): void {
    this.#checkSerial(start, count);
    if (count > 0) clearBits(this.#levels, this.#group(start), this.#lastGroup(start, count));
  }

  /** Like {@link deserialize} of bytes that are all ones. */
  deserializeOnes(start: number, count: number): void {
    this.#checkSerial(start, count);
    if (count > 0) setBits(this.#levels, this.#group(start), this.#lastGroup(start, count));
  }

  /**
   * Attaches a bitmap of the same size in which {@link set} and {@link reset} mark the range of every call that
   * changed at least one bit, for a reader that wants to know what changed since it last looked. Other methods
   * do not mark it. The reader cleans it with its own `resetAll` or `reset`.
   *
   * @param groupsPerBit groups of this bitmap per bit of the meta bitmap, a power of two.
   * @throws RangeError when the granularity would exceed 2^52; TypeError when there is a meta bitmap already.
   */
  createMeta(groupsPerBit: number): HBitmap {
    if (this.#meta !== undefined) {
      throw new TypeError("the bitmap has a meta bitmap already: free that one first");
    }
    checkPowerOfTwo("groupsPerBit", groupsPerBit);
    this.#meta = new HBitmap({ size: this.#size, granularity: this.#granularity * groupsPerBit });
    return this.#meta;
  }

  /** Detaches the meta bitmap, if any; it stays readable but no longer follows. */
  freeMeta(): void {
    this.#meta = undefined;
  }

  /** Items up to the end of the last group; at most 2^53, so exact. */
  #capacity(): number {
    return this.#levels.bits * this.#granularity;
  }

  #group(item: number): number {
    return Math.floor(item / this.#granularity);
  }

  /** Groups that `count` items from a group's start take. */
  #groups(count: number): number {
    return Math.ceil(count / this.#granularity);
  }

  /** Group of the range's last item. `start + (count - 1)` is below the capacity, hence exact. */
  #lastGroup(start: number, count: number): number {
    return this.#group(start + (count - 1));
  }

  /** End of the range, clipped to the size. */
  #end(start: number, count: number): number {
    checkInteger("start", start);
    checkInteger("count", count);
    return count >= this.#size - start ? this.#size : start + count;
  }

  #nextZero(start: number, end: number): number {
    const bit = nextClearBit(this.#levels, this.#group(start), this.#lastGroup(start, end - start) + 1);
    return bit < 0 ? -1 : Math.max(start, bit * this.#granularity);
  }

  #add(source: HBitmap): void {
    if (source.#granularity === this.#granularity) {
      orLevels(this.#levels, source.#levels);
      return;
    }
    const area: DirtyArea = { start: 0, length: 0 };
    let from = 0;
    while (source.nextDirtyArea(from, this.#size, Number.MAX_SAFE_INTEGER, area) !== undefined) {
      setBits(this.#levels, this.#group(area.start), this.#lastGroup(area.start, area.length));
      from = area.start + area.length;
    }
  }

  #checkSerial(start: number, count: number): void {
    checkRange(start, count, this.#size);
    if (count > 0) checkAligned(start, count, this.serializationAlign, this.#size);
  }

  #serialBytes(start: number, count: number, buffer: Uint8Array): number {
    const bytes = this.serializedSize(start, count);
    if (buffer.length < bytes) {
      throw new RangeError(`${count} items from ${start} take ${bytes} bytes: got ${buffer.length}`);
    }
    return bytes;
  }
}
