import type { RefcountCodec } from "../format/refcount-codec.ts";

/** Torn writes happen between sectors of this size, so a part of a block is written in whole ones. */
const SECTOR = 512;

/** One refcount block in memory, as it is on disk. */
export class RefcountBlock {
  /** Index in the refcount table. */
  readonly index: number;
  readonly hostOffset: number;
  readonly bytes: Uint8Array;
  /** Refcounts in it. */
  readonly entries: number;
  /** Users that rely on the block staying in memory. */
  pins = 0;
  readonly #codec: RefcountCodec;
  #free: number;
  #dirtyFrom: number;
  #dirtyTo: number;

  /** Takes the bytes; a block that was just made counts as changed as a whole. */
  constructor(
    index: number,
    hostOffset: number,
    bytes: Uint8Array,
    entries: number,
    codec: RefcountCodec,
    isNew: boolean,
  ) {
    this.index = index;
    this.hostOffset = hostOffset;
    this.bytes = bytes;
    this.entries = entries;
    this.#codec = codec;
    this.#free = isNew ? entries : countFree(bytes, entries, codec);
    this.#dirtyFrom = isNew ? 0 : Infinity;
    this.#dirtyTo = isNew ? bytes.length : 0;
  }

  /** Refcounts that are zero. */
  get free(): number {
    return this.#free;
  }

  get dirty(): boolean {
    return this.#dirtyFrom < this.#dirtyTo;
  }

  /** Refcount `index`; `Infinity` for one that is no exact number. */
  get(index: number): number {
    return this.#codec.get(this.bytes, index);
  }

  set(index: number, count: number): void {
    const before = this.#codec.get(this.bytes, index);
    this.#codec.set(this.bytes, index, count);
    if (before === 0 && count > 0) this.#free -= 1;
    if (before > 0 && count === 0) this.#free += 1;
    const byte = Math.floor((index * this.bytes.length) / this.entries);
    const sector = byte - (byte % SECTOR);
    this.markDirty(sector, sector + SECTOR);
  }

  /** Bytes `[from, to)` differ from the file. */
  markDirty(from: number, to: number): void {
    if (from < this.#dirtyFrom) this.#dirtyFrom = from;
    if (to > this.#dirtyTo) this.#dirtyTo = to;
  }

  /** The part that differs from the file, which counts as written from now on. */
  takeDirty(): { readonly from: number; readonly to: number } {
    const from = this.#dirtyFrom;
    const to = Math.min(this.#dirtyTo, this.bytes.length);
    this.#dirtyFrom = Infinity;
    this.#dirtyTo = 0;
    return { from, to };
  }

  /** Index of the first zero at or after `from`, or `entries`. */
  nextFree(from: number): number {
    let index = from;
    while (index < this.entries && this.#codec.get(this.bytes, index) !== 0) index += 1;
    return index;
  }

  /** How many refcounts from `from` on are zero, at most `most`. */
  freeRun(from: number, most: number): number {
    let length = 0;
    while (
      length < most &&
      from + length < this.entries &&
      this.#codec.get(this.bytes, from + length) === 0
    ) {
      length += 1;
    }
    return length;
  }

  /** Index of the last refcount that is not zero, or -1. */
  lastUsed(): number {
    let index = this.entries - 1;
    while (index >= 0 && this.#codec.get(this.bytes, index) === 0) index -= 1;
    return index;
  }
}

function countFree(bytes: Uint8Array, entries: number, codec: RefcountCodec): number {
  let free = 0;
  for (let index = 0; index < entries; index += 1) if (codec.get(bytes, index) === 0) free += 1;
  return free;
}
