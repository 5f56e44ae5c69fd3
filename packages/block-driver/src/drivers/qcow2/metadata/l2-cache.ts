import type { BlockChild } from "../../../contract/device.ts";
import { isPromise, type MaybePromise } from "../../../contract/io.ts";
import type { BlockError } from "../../../errors.ts";
import type { Geometry } from "../format/geometry.ts";
import { readHost } from "./host-read.ts";
import type { L1Table } from "./l1-table.ts";
import { L2Slice } from "./l2-slice.ts";
import { MetadataKind } from "./metadata-map.ts";
import type { MetadataWrite } from "./metadata-write.ts";
import { decodeInPlace, encodeWords } from "./table-words.ts";

/** Slices that are kept however small the budget: requests in flight, and a disk that was small when it was opened. */
const LEAST_SLICES = 16;

/** A table that is in memory only: nothing on disk points to it before it has been written as a whole. */
interface UnwrittenTable {
  readonly hostOffset: number;
  /** What the table was copied from, as stored; undefined for a table that was empty. */
  readonly base: Uint8Array | undefined;
}

/** What a cache of L2 tables needs. */
export interface L2CacheInit {
  readonly file: BlockChild;
  readonly geometry: Geometry;
  readonly l1: L1Table;
  /** Bytes of one slice as stored: a power of two, at most a cluster. */
  readonly sliceBytes: number;
  /** Bytes of slices kept when nothing forces more: dirty and pinned ones are kept in any case. */
  readonly budgetBytes: number;
  /** Tells that the L1 entry for a guest offset makes no sense, and returns the error to throw. */
  readonly corrupt: (what: string, offset: number) => BlockError;
}

/**
 * The L2 tables of an image, in slices, loaded when they are needed. A slice that is in memory is answered without a
 * promise: this is what lets a request be mapped synchronously.
 */
export class L2Cache {
  readonly #file: BlockChild;
  readonly #geometry: Geometry;
  readonly #l1: L1Table;
  readonly #corrupt: L2CacheInit["corrupt"];
  readonly #sliceBytes: number;
  readonly #capacity: number;
  readonly #entriesPerSlice: number;
  readonly #coverage: number;
  readonly #slices = new Map<number, L2Slice>();
  readonly #loading = new Map<number, Promise<L2Slice | undefined>>();
  readonly #dirty = new Set<L2Slice>();
  readonly #unwritten = new Map<number, UnwrittenTable>();
  #last: L2Slice | undefined;
  #reads = 0;

  constructor({ file, geometry, l1, sliceBytes, budgetBytes, corrupt }: L2CacheInit) {
    this.#file = file;
    this.#geometry = geometry;
    this.#l1 = l1;
    this.#corrupt = corrupt;
    this.#sliceBytes = sliceBytes;
    this.#capacity = Math.max(LEAST_SLICES, Math.floor(budgetBytes / sliceBytes));
    this.#entriesPerSlice = sliceBytes / geometry.l2EntryBytes;
    this.#coverage = this.#entriesPerSlice * geometry.clusterSize;
  }

  /** Guest bytes that one slice maps. */
  get sliceCoverage(): number {
    return this.#coverage;
  }

  /** Slices that were read from the file so far. */
  get reads(): number {
    return this.#reads;
  }

  /** Bytes that the next commit has to write at least. */
  get dirtyBytes(): number {
    return this.#dirty.size * this.#sliceBytes + this.#unwritten.size * this.#geometry.clusterSize;
  }

  /** Words `[from, to)` of the slice have been changed. */
  markDirty(slice: L2Slice, from: number, to: number): void {
    slice.markDirty(from, to);
    this.#dirty.add(slice);
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

  /** False when the L1 entry for guest byte `offset` makes no sense: {@link get} throws then. */
  isSound(offset: number): boolean {
    const { clusterSize, l2Coverage } = this.#geometry;
    const l1Index = Math.floor(offset / l2Coverage);
    const table = this.#l1.offsetOf(l1Index);
    if (table === 0 || this.#unwritten.has(l1Index)) return true;
    return problemOf(table, clusterSize, this.#file.info.size) === undefined;
  }

  /**
   * The table of L1 entry `l1Index` is at `hostOffset` from now on, in memory only: empty, or a copy of `base`. Slices of the
   * table it replaces stay valid, since a copy has the same content.
   */
  createTable(l1Index: number, hostOffset: number, base?: Uint8Array): void {
    this.#unwritten.set(l1Index, { hostOffset, base });
    for (const slice of this.#slicesOf(l1Index)) slice.hostOffset = hostOffset + this.#bytesBefore(slice);
  }

  /** Forgets everything of the table of L1 entry `l1Index`: it is gone. */
  dropTable(l1Index: number): void {
    this.#unwritten.delete(l1Index);
    for (const slice of this.#slicesOf(l1Index)) {
      slice.takeDirty();
      this.#dirty.delete(slice);
      this.#slices.delete(Math.floor(slice.guestOffset / this.#coverage));
    }
    this.#last = undefined;
  }

  /** New tables as wholes, with all that was entered in them. Nothing on disk points to them yet. */
  takeTables(): MetadataWrite[] {
    const writes: MetadataWrite[] = [];
    for (const [l1Index, table] of this.#unwritten) {
      const bytes = table.base?.slice() ?? new Uint8Array(this.#geometry.clusterSize);
      const taken: MetadataWrite[] = [];
      for (const slice of this.#slicesOf(l1Index)) {
        if (!slice.dirty) continue;
        encodeWords(slice.words, bytes, this.#bytesBefore(slice));
        taken.push(this.#take(slice));
      }
      writes.push({
        kind: MetadataKind.L2Table,
        offset: table.hostOffset,
        bytes,
        done: () => {
          if (this.#unwritten.get(l1Index) === table) this.#unwritten.delete(l1Index);
          for (const { done } of taken) done();
        },
        failed: () => {
          for (const { failed } of taken) failed();
        },
      });
    }
    return writes;
  }

  /** What was changed in tables that are on disk; to be called after {@link takeTables}, which takes the others. */
  takeSlices(): MetadataWrite[] {
    return Array.from(this.#dirty, (slice) => this.#take(slice));
  }

  /** The changed part of a slice. It stays in memory until it is written: what is on disk is older. */
  #take(slice: L2Slice): MetadataWrite {
    const { from, to } = slice.takeDirty();
    this.#dirty.delete(slice);
    slice.pins += 1;
    const bytes = new Uint8Array(4 * (to - from));
    encodeWords(slice.words.subarray(from, to), bytes, 0);
    return {
      kind: MetadataKind.L2Table,
      offset: slice.hostOffset + 4 * from,
      bytes,
      done: () => {
        slice.pins -= 1;
      },
      failed: () => {
        slice.pins -= 1;
        // A slice whose table was dropped meanwhile is not this cache's any more.
        if (this.#slices.get(Math.floor(slice.guestOffset / this.#coverage)) !== slice) return;
        this.markDirty(slice, from, to);
      },
    };
  }

  #bytesBefore(slice: L2Slice): number {
    return slice.firstEntry * this.#geometry.l2EntryBytes;
  }

  #slicesOf(l1Index: number): L2Slice[] {
    const first = Math.floor((l1Index * this.#geometry.l2Coverage) / this.#coverage);
    const count = this.#geometry.l2Coverage / this.#coverage;
    const slices: L2Slice[] = [];
    for (let number = first; number < first + count; number += 1) {
      const slice = this.#slices.get(number);
      if (slice !== undefined) slices.push(slice);
    }
    return slices;
  }

  #load(number: number): MaybePromise<L2Slice | undefined> {
    const guestOffset = number * this.#coverage;
    const l1Index = Math.floor(guestOffset / this.#geometry.l2Coverage);
    const table = this.#l1.offsetOf(l1Index);
    if (table === 0) return undefined;
    const unwritten = this.#unwritten.get(l1Index);
    if (unwritten === undefined) this.#mustBeTable(table, l1Index);
    const firstEntry = (number * this.#entriesPerSlice) % this.#geometry.l2Entries;
    const inTable = firstEntry * this.#geometry.l2EntryBytes;
    const bytes = unwritten === undefined ? newMemory(this.#sliceBytes) : this.#initial(unwritten, inTable);
    const finish = (): L2Slice | undefined => {
      // While it was read, the table may have been copied to another place, or gone.
      const now = this.#l1.offsetOf(l1Index);
      if (now === 0) return undefined;
      const slice = new L2Slice(l1Index, firstEntry, guestOffset, now + inTable, decodeInPlace(bytes));
      this.#slices.set(number, slice);
      this.#last = slice;
      this.#evict();
      return slice;
    };
    if (unwritten !== undefined) return finish();
    this.#reads += 1;
    const read = readHost(this.#file, table + inTable, [bytes]);
    if (!isPromise(read)) return finish();
    const loading = read.then(finish).finally(() => this.#loading.delete(number));
    this.#loading.set(number, loading);
    return loading;
  }

  /** What a slice of a table that is in memory only begins as. */
  #initial({ base }: UnwrittenTable, inTable: number): Uint8Array {
    return base?.slice(inTable, inTable + this.#sliceBytes) ?? new Uint8Array(this.#sliceBytes);
  }

  #mustBeTable(table: number, l1Index: number): void {
    const { clusterSize, l2Coverage } = this.#geometry;
    const problem = problemOf(table, clusterSize, this.#file.info.size);
    if (problem === undefined) return;
    const where = `the L2 table of L1 entry ${l1Index} at offset 0x${table.toString(16)}`;
    throw this.#corrupt(`${where} ${problem}`, l1Index * l2Coverage);
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

/** Memory to be read into as a whole: clearing it first takes as long as reading. */
function newMemory(size: number): Uint8Array {
  return Buffer.allocUnsafeSlow(size);
}

/** What is wrong with the place of a table, if anything. */
function problemOf(table: number, clusterSize: number, fileSize: number): string | undefined {
  if (table % clusterSize !== 0) return "is not aligned to a cluster";
  if (table < clusterSize) return "is the header";
  return table >= fileSize ? "is outside the file" : undefined;
}
