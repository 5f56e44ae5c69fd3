import { isPromise, type MaybePromise } from "../../../contract/io.ts";
import { BlockError } from "../../../errors.ts";
import type { Geometry } from "../format/geometry.ts";
import { Limits } from "../format/constants.ts";
import type { ImageFence } from "./image-fence.ts";
import { metadataName, type MetadataMap } from "./metadata-map.ts";
import type { RefcountBlock } from "./refcount-block.ts";
import type { Refcounts } from "./refcounts.ts";
import type { ReleasedClusters } from "./released-clusters.ts";

/** Host clusters that were just given out. */
export interface ClusterRun {
  readonly cluster: number;
  readonly count: number;
  /** Never used before, beyond what the file had when it was opened: they read as zeroes. */
  readonly fresh: boolean;
}

/** What a search for free clusters came to. */
type Found = { readonly cluster: number; readonly count: number } | { readonly load: number } | "grow";

/** What an allocator needs. */
export interface ClusterAllocatorInit {
  readonly refcounts: Refcounts;
  readonly geometry: Geometry;
  readonly map: MetadataMap;
  readonly fence: ImageFence;
  readonly released: ReleasedClusters;
  /** Bytes of the file when it was opened: what lies beyond has never been written. */
  readonly fileSize: number;
  readonly label: string;
}

/**
 * Gives out free host clusters, the lowest ones first. Refcounts become one in memory at once, so whatever the next commit
 * makes point to a cluster is counted by then.
 */
export class ClusterAllocator {
  readonly #refcounts: Refcounts;
  readonly #geometry: Geometry;
  readonly #map: MetadataMap;
  readonly #fence: ImageFence;
  readonly #released: ReleasedClusters;
  readonly #label: string;
  /** No free cluster lies below; nor, for {@link #firstRun}, a free run worth looking at. */
  #firstFree = 0;
  #firstRun = 0;
  /** Every cluster from here on has never been used. */
  #untouched: number;
  #growing: Promise<void> | undefined;

  constructor(init: ClusterAllocatorInit) {
    this.#refcounts = init.refcounts;
    this.#geometry = init.geometry;
    this.#map = init.map;
    this.#fence = init.fence;
    this.#released = init.released;
    this.#label = init.label;
    this.#untouched = Math.ceil(init.fileSize / init.geometry.clusterSize);
  }

  /**
   * Takes up to `count` contiguous free clusters: all of them, or as many as one refcount block describes. Answers at once
   * when the refcount blocks it looks at are in memory.
   * @throws BlockError `BLK_CORRUPT`, fencing the image, when the refcounts call metadata free; `EFBIG` beyond a limit.
   */
  allocate(count: number): MaybePromise<ClusterRun> {
    for (;;) {
      const wanted = Math.min(count, Math.max(1, this.#refcounts.blockEntries - 1));
      const found = this.#search(wanted === 1 ? this.#firstFree : this.#firstRun, wanted);
      if (found === "grow") return this.#growTable().then(() => this.allocate(count));
      if ("cluster" in found) {
        const end = found.cluster + found.count;
        if (wanted === 1) this.#firstFree = end;
        else this.#firstRun = end;
        if (this.#firstFree === found.cluster) this.#firstFree = end;
        if (this.#firstRun === found.cluster) this.#firstRun = end;
        return this.#take(found.cluster, found.count);
      }
      const block = this.#refcounts.block(found.load);
      if (isPromise(block)) return block.then(() => this.allocate(count));
    }
  }

  /**
   * Takes exactly the clusters after `cluster - 1`, as many of `count` as are free there; undefined when the first of them
   * is not, or when finding out would take reading.
   */
  extend(cluster: number, count: number): ClusterRun | undefined {
    const { blockEntries } = this.#refcounts;
    const block = this.#refcounts.cached(Math.floor(cluster / blockEntries));
    const length = block?.freeRun(cluster % blockEntries, count) ?? 0;
    return length === 0 ? undefined : this.#take(cluster, length);
  }

  /**
   * Takes `count` contiguous clusters behind everything that is used: for tables, which may be larger than what one
   * refcount block describes.
   */
  async allocateAtEnd(count: number): Promise<number> {
    for (;;) {
      const placed = await this.#placeAtEnd(count, this.#refcounts.capacity);
      if (placed !== undefined) return placed;
      await this.#growTable();
    }
  }

  /** Takes clusters back that nothing points to, and of which nothing durable ever did. */
  async giveBack(cluster: number, count: number): Promise<void> {
    for (let at = cluster; at < cluster + count; at += 1) {
      const left = this.#refcounts.decrement(at);
      if (isPromise(left)) await left;
      this.noteFree(at);
    }
  }

  /** A refcount has become zero. */
  noteFree(cluster: number): void {
    if (cluster < this.#firstFree) this.#firstFree = cluster;
    if (cluster < this.#firstRun) this.#firstRun = cluster;
  }

  /** End in bytes of the last cluster that is used. */
  async usedEnd(): Promise<number> {
    const { blockEntries } = this.#refcounts;
    for (let index = this.#refcounts.lastBlock; index >= 0; index -= 1) {
      const block = await this.#refcounts.block(index);
      const last = block?.lastUsed() ?? -1;
      if (last >= 0) return (index * blockEntries + last + 1) * this.#geometry.clusterSize;
    }
    return 0;
  }

  #take(cluster: number, count: number): ClusterRun {
    const { clusterSize } = this.#geometry;
    const kinds = cluster === 0 ? 1 : this.#map.kindsIn(cluster, count);
    if (kinds !== 0) {
      const offset = cluster * clusterSize;
      throw this.#fence.corrupt(
        `its refcounts call ${metadataName(kinds)} free: clusters at offset 0x${offset.toString(16)} cannot be used`,
        offset,
        count * clusterSize,
      );
    }
    if ((cluster + count) * clusterSize > Limits.hostOffset) {
      throw new BlockError("EFBIG", `${this.#label}: no host offset is left below 64 PiB`, {
        node: this.#label,
      });
    }
    const fresh = cluster >= this.#untouched;
    this.#refcounts.take(cluster, count);
    this.#untouched = Math.max(this.#untouched, cluster + count);
    return { cluster, count, fresh };
  }

  /** The first run of `count` free clusters from `from` on; makes a refcount block where there is none yet. */
  #search(from: number, count: number): Found {
    const { blockEntries, capacity } = this.#refcounts;
    let index = Math.floor(from / blockEntries);
    let within = from % blockEntries;
    for (; index < capacity; index += 1, within = 0) {
      const first = index * blockEntries;
      let block = this.#refcounts.cached(index);
      if (block === undefined && this.#refcounts.isAbsent(index)) block = this.#makeBlock(index, first);
      if (block === undefined) {
        const free = this.#refcounts.freeIn(index);
        if (free < 0 || free >= count) return { load: index };
        continue;
      }
      if (block.free < count) continue;
      const at = findRun(block, within, count);
      if (at >= 0) return { cluster: first + at, count };
    }
    return "grow";
  }

  /** A block for clusters that nobody counts yet describes itself: its first cluster holds it. */
  #makeBlock(index: number, first: number): RefcountBlock {
    // An image whose table lacks the block of its own header is broken; using cluster 0 would end it.
    if (first === 0 || this.#map.kindsIn(first, this.#refcounts.blockEntries) !== 0) {
      throw this.#fence.corrupt(
        `refcount block ${index} is missing though metadata is in use there; offset 0x${(first * this.#geometry.clusterSize).toString(16)} cannot be used`,
      );
    }
    const block = this.#refcounts.create(index, first);
    block.set(0, 1);
    this.#untouched = Math.max(this.#untouched, first + 1);
    return block;
  }

  /** A table that is full grows by half, behind everything else. Whoever needs it waits for the same growth. */
  #growTable(): Promise<void> {
    this.#growing ??= this.#grow().finally(() => (this.#growing = undefined));
    return this.#growing;
  }

  async #grow(): Promise<void> {
    const refcounts = this.#refcounts;
    const { clusterSize } = this.#geometry;
    const before = { offset: refcounts.tableOffset, clusters: refcounts.tableClusters };
    const perCluster = clusterSize / 8;
    refcounts.mustBePossible((before.clusters + 1) * perCluster);
    const most = Limits.refcountTableBytes / clusterSize;
    const clusters = Math.min(most, Math.ceil(before.clusters * 1.5) + 1);
    refcounts.extend(clusters * perCluster);
    // A commit that came between would enter the new blocks in the old table, behind its end.
    const placed = await this.#placeAtEnd(clusters, clusters * perCluster, (cluster) => {
      refcounts.place(cluster, clusters);
      this.#released.add(before.offset / clusterSize, before.clusters, false);
    });
    if (placed !== undefined) return;
    throw new BlockError("EFBIG", `${this.#label}: its refcount table cannot grow any more`, {
      node: this.#label,
    });
  }

  /**
   * Places `count` clusters, and before them the refcount blocks that they and the blocks themselves need, behind the last
   * used cluster. Undefined when that needs more than `capacity` table entries. `use` is called at once with the place, before
   * anybody else sees the new blocks.
   */
  async #placeAtEnd(
    count: number,
    capacity: number,
    use?: (cluster: number) => void,
  ): Promise<number | undefined> {
    const refcounts = this.#refcounts;
    const { blockEntries } = refcounts;
    let lastIndex = refcounts.lastBlock;
    let lastBlock = await refcounts.block(lastIndex);
    while (lastIndex !== refcounts.lastBlock || refcounts.cached(lastIndex) !== lastBlock) {
      lastIndex = refcounts.lastBlock;
      lastBlock = await refcounts.block(lastIndex);
    }
    if (lastIndex < 0) throw this.#fence.corrupt("there is no refcount block, though its header is in use");
    const start = lastIndex * blockEntries + (lastBlock?.lastUsed() ?? -1) + 1;
    // The blocks take clusters too, which may need another block: repeat until nothing is missing.
    let blocks = 0;
    for (;;) {
      const needed = Math.floor((start + blocks + count - 1) / blockEntries) - lastIndex;
      if (needed <= blocks) break;
      blocks = needed;
    }
    const lastNeeded = Math.floor((start + blocks + count - 1) / blockEntries);
    if (lastNeeded >= capacity) return undefined;
    const made: RefcountBlock[] = [];
    for (let index = 0; index < blocks; index += 1) {
      made.push(refcounts.create(lastIndex + 1 + index, start + index));
    }
    // Blocks that were just made are metadata by now, so the run is checked and taken in two parts.
    if (blocks > 0) refcounts.take(start, blocks);
    this.#untouched = Math.max(this.#untouched, start + blocks);
    const { cluster } = this.#take(start + blocks, count);
    use?.(cluster);
    return cluster;
  }
}

/** Index of the first run of `count` zeroes at or after `from`, or -1. */
function findRun(block: RefcountBlock, from: number, count: number): number {
  for (let at = block.nextFree(from); at + count <= block.entries; at = block.nextFree(at)) {
    const length = block.freeRun(at, count);
    if (length === count) return at;
    at += length;
  }
  return -1;
}
