import type { BlockChild } from "../../../contract/device.ts";
import { isPromise, type MaybePromise } from "../../../contract/io.ts";
import { BlockError } from "../../../errors.ts";
import type { Geometry } from "../format/geometry.ts";
import { readHost } from "./host-read.ts";
import type { L1Table } from "./l1-table.ts";
import { L2Slice } from "./l2-slice.ts";

/** What a cache of L2 tables needs. */
export interface L2CacheInit {
  readonly file: BlockChild;
  readonly geometry: Geometry;
  readonly l1: L1Table;
  /** Bytes of one slice as stored: a power of two, at most a cluster. */
  readonly sliceBytes: number;
  /** Bytes of slices kept when nothing forces more: dirty and pinned ones are kept in any case. */
  readonly budgetBytes: number;
  /** Name of the image in messages. */
  readonly label: string;
}

/**
 * The L2 tables of an image, in slices, loaded when they are needed. A slice that is in memory is answered without a
 * promise: this is what lets a request be mapped synchronously.
 */
export class L2Cache {
  readonly #file: BlockChild;
  readonly #geometry: Geometry;
  readonly #l1: L1Table;
  readonly #label: string;
  readonly #sliceBytes: number;
  readonly #capacity: number;
  readonly #entriesPerSlice: number;
  readonly #coverage: number;
  readonly #slices = new Map<number, L2Slice>();
  readonly #loading = new Map<number, Promise<L2Slice>>();
  #last: L2Slice | undefined;

  constructor({ file, geometry, l1, sliceBytes, budgetBytes, label }: L2CacheInit) {
    this.#file = file;
    this.#geometry = geometry;
    this.#l1 = l1;
    this.#label = label;
    this.#sliceBytes = sliceBytes;
    this.#capacity = Math.max(2, Math.floor(budgetBytes / sliceBytes));
    this.#entriesPerSlice = sliceBytes / geometry.l2EntryBytes;
    this.#coverage = this.#entriesPerSlice * geometry.clusterSize;
  }

  /** Guest bytes that one slice maps. */
  get sliceCoverage(): number {
    return this.#coverage;
  }

  /** All slices in memory, for whoever writes them. */
  get slices(): IterableIterator<L2Slice> {
    return this.#slices.values();
  }

  /**
   * The slice that maps guest byte `offset`, or undefined where the L1 table has no L2 table for it. Pin it to keep it
   * across an `await`.
   * @throws BlockError `BLK_CORRUPT` when the L1 entry is unaligned or outside the file.
   */
  get(offset: number): MaybePromise<L2Slice | undefined> {
    const number = Math.floor(offset / this.#coverage);
    const last = this.#last;
    if (last !== undefined && last.guestOffset === number * this.#coverage) return last;
    const cached = this.#slices.get(number);
    if (cached !== undefined) {
      cached.recentlyUsed = true;
      this.#last = cached;
      return cached;
    }
    return this.#loading.get(number) ?? this.#load(number);
  }

  /** Takes in a slice that was made in memory, of a new table. */
  add(slice: L2Slice): void {
    this.#slices.set(Math.floor(slice.guestOffset / this.#coverage), slice);
    this.#last = slice;
    this.#evict();
  }

  /** Forgets the slice that maps `offset`, if it is there: its table is gone. */
  drop(offset: number): void {
    this.#slices.delete(Math.floor(offset / this.#coverage));
    this.#last = undefined;
  }

  #load(number: number): MaybePromise<L2Slice | undefined> {
    const guestOffset = number * this.#coverage;
    const l1Index = Math.floor(guestOffset / this.#geometry.l2Coverage);
    const table = this.#l1.offsetOf(l1Index);
    if (table === 0) return undefined;
    this.#mustBeTable(table, l1Index);
    const firstEntry = (number * this.#entriesPerSlice) % this.#geometry.l2Entries;
    const hostOffset = table + firstEntry * this.#geometry.l2EntryBytes;
    const bytes = new Uint8Array(this.#sliceBytes);
    const finish = (): L2Slice => {
      const slice = new L2Slice(l1Index, firstEntry, guestOffset, hostOffset, toWords(bytes));
      this.#slices.set(number, slice);
      this.#last = slice;
      this.#evict();
      return slice;
    };
    const read = readHost(this.#file, hostOffset, [bytes]);
    if (!isPromise(read)) return finish();
    const loading = read.then(finish).finally(() => this.#loading.delete(number));
    this.#loading.set(number, loading);
    return loading;
  }

  #mustBeTable(table: number, l1Index: number): void {
    const where = `${this.#label}: the L2 table of L1 entry ${l1Index} at offset 0x${table.toString(16)}`;
    const { clusterSize } = this.#geometry;
    if (table % clusterSize !== 0) throw this.#corrupt(`${where} is not aligned to a cluster`);
    if (table < clusterSize) throw this.#corrupt(`${where} is the header`);
    if (table >= this.#file.info.size) throw this.#corrupt(`${where} is outside the file`);
  }

  #corrupt(message: string): BlockError {
    return new BlockError("BLK_CORRUPT", message, { node: this.#label });
  }

  /** Second-chance eviction: what was used since the last look stays; what is dirty or pinned stays in any case. */
  #evict(): void {
    if (this.#slices.size <= this.#capacity) return;
    for (const [number, slice] of this.#slices) {
      if (this.#slices.size <= this.#capacity) return;
      if (slice.dirty || slice.pins > 0 || slice === this.#last) continue;
      this.#slices.delete(number);
      if (slice.recentlyUsed) {
        slice.recentlyUsed = false;
        this.#slices.set(number, slice);
      }
    }
  }
}

/** Decodes big-endian words. */
function toWords(bytes: Uint8Array): Uint32Array {
  const words = new Uint32Array(bytes.length / 4);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let word = 0; word < words.length; word += 1) words[word] = view.getUint32(4 * word);
  return words;
}
