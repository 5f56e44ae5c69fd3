import type { BlockChild } from "../../../contract/device.ts";
import { isPromise, type MaybePromise } from "../../../contract/io.ts";
import { BlockError } from "../../../errors.ts";
import { Limits } from "../format/constants.ts";
import type { Geometry } from "../format/geometry.ts";
import { HeaderField } from "../format/header.ts";
import { refcountCodec, type RefcountCodec } from "../format/refcount-codec.ts";
import { viewOf, writeU64 } from "../format/u64.ts";
import { encodeRefcountTableLocation } from "./header-fields.ts";
import { readHost } from "./host-read.ts";
import type { ImageFence } from "./image-fence.ts";
import { MetadataKind, type MetadataMap } from "./metadata-map.ts";
import type { MetadataWrite } from "./metadata-write.ts";
import { RefcountBlock } from "./refcount-block.ts";

/** Bytes of clean refcount blocks kept in memory. Dirty ones are kept in any case. */
const CACHE_BYTES = 8 * 1024 * 1024;
const LEAST_CACHED = 4;

/** What refcounts need. */
export interface RefcountsInit {
  readonly file: BlockChild;
  readonly geometry: Geometry;
  readonly tableOffset: number;
  readonly tableClusters: number;
  readonly map: MetadataMap;
  readonly fence: ImageFence;
  readonly label: string;
  /** Called when the header in the file names a table in another place. */
  readonly onMoved: (tableOffset: number, tableClusters: number) => void;
}

/**
 * The refcount table and its blocks in memory. Changes are made here at once and written by the next commit; new blocks
 * and a new table exist in memory only until then, and nothing on disk points to them before they are durable.
 */
export class Refcounts {
  readonly blockEntries: number;
  readonly max: number;
  readonly #file: BlockChild;
  readonly #geometry: Geometry;
  readonly #codec: RefcountCodec;
  readonly #map: MetadataMap;
  readonly #fence: ImageFence;
  readonly #label: string;
  readonly #onMoved: RefcountsInit["onMoved"];
  readonly #blocks = new Map<number, RefcountBlock>();
  readonly #loading = new Map<number, Promise<RefcountBlock>>();
  readonly #cached: number;
  /** Host offset of each block, 0 for none. */
  #offsets: Float64Array = new Float64Array(0);
  /** Zeroes in each block, or -1 where it was not loaded yet: full blocks are not looked at again. */
  #free: Int32Array = new Int32Array(0);
  #tableOffset: number;
  #tableClusters: number;
  readonly #dirtyEntries = new Set<number>();
  /** The table has another place than the header says. */
  #moved = false;

  constructor(init: RefcountsInit) {
    const { geometry } = init;
    this.#file = init.file;
    this.#geometry = geometry;
    this.#codec = refcountCodec(geometry.refcountOrder);
    this.#map = init.map;
    this.#fence = init.fence;
    this.#label = init.label;
    this.#onMoved = init.onMoved;
    this.#tableOffset = init.tableOffset;
    this.#tableClusters = init.tableClusters;
    this.blockEntries = geometry.refcountsPerBlock;
    this.max = this.#codec.max;
    this.#cached = Math.max(LEAST_CACHED, Math.floor(CACHE_BYTES / geometry.clusterSize));
  }

  /** Reads the table. Blocks are read when they are needed. */
  async load(): Promise<void> {
    const { clusterSize } = this.#geometry;
    const bytes = new Uint8Array(this.#tableClusters * clusterSize);
    await readHost(this.#file, this.#tableOffset, [bytes]);
    const view = viewOf(bytes);
    const offsets = new Float64Array(bytes.length / 8);
    for (let index = 0; index < offsets.length; index += 1) {
      // Bits 0 to 8 are reserved; all others belong to the offset.
      const low = view.getUint32(8 * index + 4);
      offsets[index] = view.getUint32(8 * index) * 2 ** 32 + (low - (low % 512));
    }
    this.#offsets = offsets;
    this.#free = new Int32Array(offsets.length).fill(-1);
    this.#map.add(MetadataKind.RefcountTable, this.#tableOffset / clusterSize, this.#tableClusters);
    this.#map.addAll(
      MetadataKind.RefcountBlock,
      offsets.filter((offset) => offset > 0).map((offset) => Math.floor(offset / clusterSize)),
    );
  }

  /** Entries of the table as it is in the file, or will be with the next commit. */
  get capacity(): number {
    return (this.#tableClusters * this.#geometry.clusterSize) / 8;
  }

  get tableOffset(): number {
    return this.#tableOffset;
  }

  get tableClusters(): number {
    return this.#tableClusters;
  }

  /** Index of the last block there is, or -1. */
  get lastBlock(): number {
    let index = this.#offsets.length - 1;
    while (index >= 0 && this.#offsets[index] === 0) index -= 1;
    return index;
  }

  /** Something has to be written. */
  get dirty(): boolean {
    if (this.#moved || this.#dirtyEntries.size > 0) return true;
    for (const block of this.#blocks.values()) if (block.dirty) return true;
    return false;
  }

  /** True when there is no block for these clusters, so that all of them are free. */
  isAbsent(index: number): boolean {
    return (this.#offsets[index] ?? 0) === 0;
  }

  /** Zeroes in block `index`; -1 when that is not known. */
  freeIn(index: number): number {
    return this.#blocks.get(index)?.free ?? this.#free[index] ?? -1;
  }

  /** Block `index` if it is in memory. */
  cached(index: number): RefcountBlock | undefined {
    return this.#blocks.get(index);
  }

  /**
   * Block `index`, or undefined where there is none.
   * @throws BlockError `BLK_CORRUPT`, fencing the image, when the table points to what cannot be a refcount block.
   */
  block(index: number): MaybePromise<RefcountBlock | undefined> {
    const cached = this.#blocks.get(index);
    if (cached !== undefined) return cached;
    const offset = this.#offsets[index] ?? 0;
    if (offset === 0) return undefined;
    return this.#loading.get(index) ?? this.#load(index, offset);
  }

  /** Makes block `index`, all zero but for itself if it is in its own range, at a cluster that is free. */
  create(index: number, cluster: number): RefcountBlock {
    const { clusterSize } = this.#geometry;
    const bytes = new Uint8Array(clusterSize);
    const offset = cluster * clusterSize;
    const block = new RefcountBlock(index, offset, bytes, this.blockEntries, this.#codec, true);
    this.#blocks.set(index, block);
    this.#offsets[index] = offset;
    this.#dirtyEntries.add(index);
    this.#map.add(MetadataKind.RefcountBlock, cluster);
    return block;
  }

  /** Sets `count` free clusters from `cluster` on, whose blocks are all in memory, to refcount one. */
  take(cluster: number, count: number): void {
    for (let at = cluster; at < cluster + count; at += 1) {
      const block = this.#blocks.get(Math.floor(at / this.blockEntries));
      if (block === undefined) throw new RangeError(`Refcounts: the block of cluster ${at} is not in memory`);
      block.set(at % this.blockEntries, 1);
    }
  }

  /** The refcount of a cluster. */
  get(cluster: number): MaybePromise<number> {
    const block = this.block(Math.floor(cluster / this.blockEntries));
    if (isPromise(block)) return block.then((loaded) => loaded?.get(cluster % this.blockEntries) ?? 0);
    return block?.get(cluster % this.blockEntries) ?? 0;
  }

  /**
   * Lowers the refcount of a cluster by one and returns what is left.
   * @throws BlockError `BLK_CORRUPT`, fencing the image, when it is zero already.
   */
  decrement(cluster: number): MaybePromise<number> {
    const block = this.block(Math.floor(cluster / this.blockEntries));
    if (isPromise(block)) return block.then((loaded) => this.#decrement(loaded, cluster));
    return this.#decrement(block, cluster);
  }

  #decrement(block: RefcountBlock | undefined, cluster: number): number {
    const index = cluster % this.blockEntries;
    const count = block?.get(index) ?? 0;
    if (block === undefined || count === 0) {
      const offset = cluster * this.#geometry.clusterSize;
      throw this.#fence.corrupt(
        `the cluster at offset 0x${offset.toString(16)} is used, but its refcount is zero`,
        offset,
      );
    }
    // A count beyond exact numbers is no honest count; it stays, which at worst leaks the cluster.
    if (count === Infinity) return count;
    block.set(index, count - 1);
    return count - 1;
  }

  /** Makes room in memory for `entries` table entries; {@link place} gives the larger table its place in the file. */
  extend(entries: number): void {
    const offsets = new Float64Array(entries);
    offsets.set(this.#offsets);
    const free = new Int32Array(entries).fill(-1);
    free.set(this.#free);
    this.#offsets = offsets;
    this.#free = free;
  }

  /** The table is at `cluster` from now on, `clusters` long; the next commit writes it and switches the header. */
  place(cluster: number, clusters: number): void {
    const { clusterSize } = this.#geometry;
    this.#map.remove(MetadataKind.RefcountTable, this.#tableOffset / clusterSize, this.#tableClusters);
    this.#tableOffset = cluster * clusterSize;
    this.#tableClusters = clusters;
    this.#map.add(MetadataKind.RefcountTable, cluster, clusters);
    this.#moved = true;
  }

  /** Changed blocks, and a table in a new place: what nothing points to yet, or what only adds up. */
  takeBlocks(): MetadataWrite[] {
    const writes: MetadataWrite[] = [];
    for (const block of this.#blocks.values()) {
      if (!block.dirty) continue;
      const { from, to } = block.takeDirty();
      block.pins += 1;
      writes.push({
        kind: MetadataKind.RefcountBlock,
        offset: block.hostOffset + from,
        bytes: block.bytes.slice(from, to),
        done: () => {
          block.pins -= 1;
        },
        failed: () => {
          block.pins -= 1;
          block.markDirty(from, to);
        },
      });
    }
    if (this.#moved) writes.push(this.#wholeTable());
    return writes;
  }

  /** What makes new blocks count: their table entries, or the header's switch to a new table. */
  takePointers(): MetadataWrite[] {
    const entries = [...this.#dirtyEntries].sort((a, b) => a - b);
    this.#dirtyEntries.clear();
    const again = (): void => {
      for (const index of entries) this.#dirtyEntries.add(index);
    };
    if (this.#moved) {
      this.#moved = false;
      const offset = this.#tableOffset;
      const clusters = this.#tableClusters;
      return [
        {
          kind: MetadataKind.Header,
          offset: HeaderField.refcountTable,
          bytes: encodeRefcountTableLocation(offset, clusters),
          done: () => this.#onMoved(offset, clusters),
          failed: () => {
            this.#moved = true;
            again();
          },
        },
      ];
    }
    const writes: MetadataWrite[] = [];
    for (let at = 0; at < entries.length;) {
      const first = entries[at] ?? 0;
      let count = 1;
      while (entries[at + count] === first + count) count += 1;
      writes.push({
        kind: MetadataKind.RefcountTable,
        offset: this.#tableOffset + 8 * first,
        bytes: this.#encode(first, count),
        done: () => {},
        failed: again,
      });
      at += count;
    }
    return writes;
  }

  #wholeTable(): MetadataWrite {
    return {
      kind: MetadataKind.RefcountTable,
      offset: this.#tableOffset,
      bytes: this.#encode(0, this.capacity),
      done: () => {},
      failed: () => {},
    };
  }

  #encode(first: number, count: number): Uint8Array {
    const bytes = new Uint8Array(8 * count);
    const view = viewOf(bytes);
    for (let index = 0; index < count; index += 1) {
      writeU64(view, 8 * index, this.#offsets[first + index] ?? 0);
    }
    return bytes;
  }

  #load(index: number, offset: number): MaybePromise<RefcountBlock> {
    this.#mustBeBlock(index, offset);
    const bytes = new Uint8Array(this.#geometry.clusterSize);
    const finish = (): RefcountBlock => {
      const block = new RefcountBlock(index, offset, bytes, this.blockEntries, this.#codec, false);
      this.#blocks.set(index, block);
      this.#evict(index);
      return block;
    };
    const read = readHost(this.#file, offset, [bytes]);
    if (!isPromise(read)) return finish();
    const loading = read.then(finish).finally(() => this.#loading.delete(index));
    this.#loading.set(index, loading);
    return loading;
  }

  #mustBeBlock(index: number, offset: number): void {
    const { clusterSize } = this.#geometry;
    const where = `refcount block ${index} at offset 0x${offset.toString(16)}`;
    if (offset % clusterSize !== 0) throw this.#fence.corrupt(`${where} is not aligned to a cluster`, offset);
    const others = this.#map.kindsIn(offset / clusterSize, 1) & ~MetadataKind.RefcountBlock;
    if (others !== 0 || offset >= this.#file.info.size) {
      throw this.#fence.corrupt(`${where} is outside the file or other metadata`, offset);
    }
  }

  #evict(keep: number): void {
    for (const [index, block] of this.#blocks) {
      if (this.#blocks.size <= this.#cached) return;
      if (index === keep || block.dirty || block.pins > 0) continue;
      this.#free[index] = block.free;
      this.#blocks.delete(index);
    }
  }

  /** @throws BlockError `EFBIG` when a refcount table may not have that many entries. */
  mustBePossible(entries: number): void {
    if (entries * 8 <= Limits.refcountTableBytes) return;
    throw new BlockError(
      "EFBIG",
      `${this.#label}: its refcount table cannot grow beyond ${Limits.refcountTableBytes} bytes; copy it to an image with larger clusters`,
      { node: this.#label },
    );
  }
}
