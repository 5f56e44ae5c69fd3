import { ExtentList } from "../../../contract/extents.ts";
import { refcountCodec } from "../format/refcount-codec.ts";
import type { Image } from "../image.ts";
import { readHost } from "../metadata/host-read.ts";

/** Refcount blocks that are looked at: of clusters of 64 KiB they cover 8 TiB. */
const MOST_BLOCKS = 4096;
/** Bits of a refcount table's entry that are not part of the offset (qcow2 specification, "Refcount table"). */
const RESERVED_BITS = 512;

/**
 * Whether clusters that count as data may be holes of the file, so that it has to be asked: images whose tables were made in
 * advance (`preallocation=metadata`) are nothing else at first. Others are not asked about, because that takes calls for each
 * piece; and a hole within a cluster that was written would be told of that `qemu-img map` does not show either.
 *
 * It is so when the file takes less space, by a tenth and two clusters at least, than its clusters in use would.
 */
export class StorageHoles {
  readonly #image: Image;
  #known: boolean | undefined;
  #finding: Promise<boolean> | undefined;
  readonly #lists: ExtentList[] = [];

  constructor(image: Image) {
    this.#image = image;
    const { file, geometry } = image;
    const { allocatedSize, size, can } = file.info;
    const most = allocatedSize === undefined ? Infinity : mostClusters(allocatedSize, geometry.clusterSize);
    if (image.hasDataFile || can.status !== "exact" || size / geometry.clusterSize < most)
      this.#known = false;
  }

  /** Undefined where it has to be found out first. */
  get areToBeAsked(): boolean | undefined {
    return this.#known;
  }

  /** Finds it out; what cannot be read tells nothing. */
  find(): Promise<boolean> {
    this.#finding ??= this.#find()
      .catch(() => false)
      .then((found) => (this.#known = found));
    return this.#finding;
  }

  /** A list for one question at a time; to be given back. */
  takeList(): ExtentList {
    return this.#lists.pop() ?? new ExtentList();
  }

  giveList(list: ExtentList): void {
    this.#lists.push(list);
  }

  async #find(): Promise<boolean> {
    const { file, header, geometry } = this.#image;
    const { clusterSize, refcountsPerBlock, refcountOrder } = geometry;
    const codec = refcountCodec(refcountOrder);
    const most = mostClusters(file.info.allocatedSize ?? 0, clusterSize);
    const clusters = Math.ceil(file.info.size / clusterSize);
    const blocks = Math.min(
      MOST_BLOCKS,
      Math.ceil(clusters / refcountsPerBlock),
      header.refcountTableClusters * (clusterSize / 8),
    );
    const table = new DataView(new ArrayBuffer(blocks * 8));
    await readHost(file, header.refcountTableOffset, [new Uint8Array(table.buffer)]);
    const bytes = new Uint8Array(clusterSize);
    let used = 0;
    for (let block = 0; block < blocks && used < most; block += 1) {
      const offset = table.getUint32(8 * block) * 2 ** 32 + table.getUint32(8 * block + 4);
      if (offset < RESERVED_BITS) continue;
      await readHost(file, offset - (offset % RESERVED_BITS), [bytes]);
      const end = Math.min(refcountsPerBlock, clusters - block * refcountsPerBlock);
      for (let index = 0; index < end && used < most; index += 1) if (codec.get(bytes, index) > 0) used += 1;
    }
    return used >= most;
  }
}

/** Clusters in use from which on a file that takes so much space must have holes among them. */
function mostClusters(allocatedSize: number, clusterSize: number): number {
  const real = Math.floor(allocatedSize / clusterSize);
  return Math.max(Math.floor((real * 10) / 9), real + 2);
}
