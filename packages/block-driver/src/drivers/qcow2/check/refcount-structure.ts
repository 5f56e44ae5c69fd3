import { BlockError } from "../../../errors.ts";
import { refcountCodec, type RefcountCodec } from "../format/refcount-codec.ts";
import { viewOf } from "../format/u64.ts";
import { readHost } from "../metadata/host-read.ts";
import type { CheckedImage } from "./checked-image.ts";

/** What an entry of the refcount table is. */
export type BlockState =
  /** No block: all its counts are 0. */
  | "absent"
  /** A block inside the file. */
  | "present"
  /** Beyond the end of the file, where everything reads as 0. */
  | "outside"
  /** At an offset where no block can be. */
  | "unaligned"
  /** With reserved bits set; the block is read all the same. */
  | "reserved";

/** Blocks of refcounts kept in memory: 16 MiB, or at least a few. */
const CACHE_BYTES = 16 * 1024 * 1024;

/** The refcounts as they are in the file: the table, and its blocks as they are needed. */
export class RefcountStructure {
  readonly codec: RefcountCodec;
  readonly #image: CheckedImage;
  readonly #words: Uint32Array;
  readonly #blocks = new Map<number, Uint8Array>();
  readonly #capacity: number;
  #lastIndex = -1;
  #last: Uint8Array | undefined;

  private constructor(image: CheckedImage, table: Uint8Array) {
    this.#image = image;
    this.codec = refcountCodec(image.geometry.refcountOrder);
    this.#capacity = Math.max(4, Math.floor(CACHE_BYTES / image.geometry.clusterSize));
    const view = viewOf(table);
    this.#words = new Uint32Array(table.length / 4);
    for (let word = 0; word < this.#words.length; word += 1) this.#words[word] = view.getUint32(4 * word);
  }

  /** Reads the table. One at an impossible offset is as good as none. */
  static async read(image: CheckedImage): Promise<RefcountStructure> {
    const { header, geometry, file } = image;
    const table = new Uint8Array(
      refcountTableIsUsable(image) ? header.refcountTableClusters * geometry.clusterSize : 0,
    );
    if (table.length > 0) await readHost(file, header.refcountTableOffset, [table]);
    return new RefcountStructure(image, table);
  }

  /** Entries of the table. */
  get entries(): number {
    return this.#words.length / 2;
  }

  /** Host offset of block `index`; `Infinity` where it is beyond exact numbers. */
  offsetOf(index: number): number {
    const offset =
      (this.#words[2 * index] ?? 0) * 2 ** 32 + (((this.#words[2 * index + 1] ?? 0) & ~511) >>> 0);
    return Number.isSafeInteger(offset) ? offset : Infinity;
  }

  /** What entry `index` of the table is. */
  stateOf(index: number): BlockState {
    const offset = this.offsetOf(index);
    if (((this.#words[2 * index + 1] ?? 0) & 511) !== 0) return "reserved";
    if (offset === 0) return "absent";
    if (offset === Infinity || offset >= this.#image.file.info.size) return "outside";
    return offset % this.#image.geometry.clusterSize === 0 ? "present" : "unaligned";
  }

  /** Block `index` can be read: it is there, or all its counts are 0. */
  isReadable(index: number): boolean {
    const { clusterSize } = this.#image.geometry;
    const offset = this.offsetOf(index);
    return offset === Infinity || offset % clusterSize === 0;
  }

  /**
   * The bytes of block `index`, which is readable; undefined where all its counts are 0. They belong to this object: see
   * {@link changed}.
   * @throws BlockError what the file meets.
   */
  async block(index: number): Promise<Uint8Array | undefined> {
    const offset = this.offsetOf(index);
    if (index >= this.entries || offset === 0 || offset >= this.#image.file.info.size) return undefined;
    const cached = this.#blocks.get(index);
    if (cached !== undefined) return cached;
    const bytes = new Uint8Array(this.#image.geometry.clusterSize);
    await readHost(this.#image.file, offset, [bytes]);
    const [oldest] = this.#blocks.keys();
    if (this.#blocks.size >= this.#capacity && oldest !== undefined) this.#blocks.delete(oldest);
    this.#blocks.set(index, bytes);
    return bytes;
  }

  /** Writes block `index` after its bytes were changed in place. */
  async changed(index: number, bytes: Uint8Array): Promise<void> {
    await this.#image.file.write(this.offsetOf(index), [bytes]);
  }

  /** Has the block of `cluster` in memory, so that {@link countOf} can answer. False when it cannot be read. */
  async load(cluster: number): Promise<boolean> {
    const index = Math.floor(cluster / this.#image.geometry.refcountsPerBlock);
    if (!this.isReadable(index)) return false;
    try {
      this.#last = await this.block(index);
    } catch (error) {
      if (error instanceof BlockError) return false;
      throw error;
    }
    this.#lastIndex = index;
    return true;
  }

  /** The refcount of `cluster`, or undefined when {@link load} has to be called first. */
  countOf(cluster: number): number | undefined {
    const { refcountsPerBlock } = this.#image.geometry;
    const index = Math.floor(cluster / refcountsPerBlock);
    if (index !== this.#lastIndex) return undefined;
    return this.#last === undefined ? 0 : this.codec.get(this.#last, cluster % refcountsPerBlock);
  }
}

/** The header names a refcount table at an offset where one can be. */
export function refcountTableIsUsable({ header, geometry, file }: CheckedImage): boolean {
  const { refcountTableOffset: offset, refcountTableClusters: clusters } = header;
  return (
    clusters > 0 &&
    offset % geometry.clusterSize === 0 &&
    offset >= geometry.clusterSize &&
    offset < file.info.size
  );
}
