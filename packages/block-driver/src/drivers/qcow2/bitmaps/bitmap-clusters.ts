import { BlockError } from "../../../errors.ts";
import { bitmapTableEntry, type BitmapEntry } from "../format/bitmap-directory.ts";
import { MetadataKind } from "../metadata/metadata-map.ts";
import type { WriteState } from "../write/write-state.ts";
import { readBitmapTable } from "./bitmap-data.ts";
import type { BitmapDirectory } from "./read-directory.ts";

/** Keeps count of the clusters that bitmaps take: guarded while they are in use, given back when they are not. */
export class BitmapClusters {
  readonly #state: WriteState;
  /** Taken for what is not stored yet. */
  #placed: { readonly cluster: number; readonly count: number }[] = [];

  constructor(state: WriteState) {
    this.#state = state;
  }

  /** Guards everything that a directory refers to. */
  async addAll({ extension, entries }: BitmapDirectory): Promise<void> {
    this.#add(extension.directoryOffset, extension.directorySize);
    for (const entry of entries) {
      for (const [offset, length] of await this.#rangesOf(entry)) this.#add(offset, length);
    }
  }

  /** Writes bytes to new clusters, padded with zeroes to whole ones, and guards them. @returns their offset. */
  async place(bytes: Uint8Array): Promise<number> {
    const { allocator, file, image } = this.#state;
    const { clusterSize } = image.geometry;
    const count = Math.ceil(bytes.length / clusterSize);
    const cluster =
      count === 1 ? (await allocator.allocate(1)).cluster : await allocator.allocateAtEnd(count);
    this.#placed.push({ cluster, count });
    const offset = cluster * clusterSize;
    const padding = new Uint8Array(count * clusterSize - bytes.length);
    await file.write(offset, padding.length === 0 ? [bytes] : [bytes, padding]);
    this.#add(offset, bytes.length);
    return offset;
  }

  /**
   * Takes back what was placed, while the header has not been touched: nothing durable has ever pointed there, so the
   * clusters are free at once. After a failure that fences the image they stay: nothing is written any more.
   */
  async giveBackPlaced(): Promise<void> {
    const { allocator, map, fence } = this.#state;
    const placed = this.#placed;
    this.#placed = [];
    for (const { cluster, count } of placed) {
      if (fence.failure !== undefined) return;
      map.remove(MetadataKind.Bitmaps, cluster, count);
      await allocator.giveBack(cluster, count);
    }
  }

  /** Gives a range back, once nothing durable refers to it. */
  release(offset: number, length: number): void {
    const { map, released, image } = this.#state;
    const { clusterSize } = image.geometry;
    const cluster = offset / clusterSize;
    const count = Math.ceil(length / clusterSize);
    map.remove(MetadataKind.Bitmaps, cluster, count);
    released.add(cluster, count, false);
  }

  /** Gives back the table and the data of a bitmap. */
  async releaseBitmap(entry: BitmapEntry): Promise<void> {
    for (const [offset, length] of await this.#rangesOf(entry)) this.release(offset, length);
  }

  #add(offset: number, length: number): void {
    const { map, image } = this.#state;
    const { clusterSize } = image.geometry;
    map.add(MetadataKind.Bitmaps, Math.floor(offset / clusterSize), Math.ceil(length / clusterSize));
  }

  /** Table and data of a bitmap. One that is not readable is left alone: its clusters are for a check to judge. */
  async #rangesOf(entry: BitmapEntry): Promise<readonly (readonly [offset: number, length: number])[]> {
    const { image } = this.#state;
    const { clusterSize } = image.geometry;
    try {
      const table = await readBitmapTable(image, entry);
      const ranges: (readonly [number, number])[] = [[entry.tableOffset, table.length]];
      for (let index = 0; index < entry.tableEntries; index += 1) {
        const part = bitmapTableEntry(table, index, clusterSize, image.label);
        if (part.kind === "data") ranges.push([part.offset, clusterSize]);
      }
      return ranges;
    } catch (error) {
      if (error instanceof BlockError && error.code === "BLK_CORRUPT") return [];
      throw error;
    }
  }
}
