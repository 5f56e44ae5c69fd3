import { COPIED, hostOffsetOf, clusterType, ClusterType } from "../format/l2-entry.ts";
import { viewOf } from "../format/u64.ts";
import { readHost } from "../metadata/host-read.ts";
import type { Findings } from "./check-report.ts";
import type { CheckedImage } from "./checked-image.ts";
import { namedTables } from "./l1-tables.ts";
import type { RefcountStructure } from "./refcount-structure.ts";
import { readTables } from "./table-reader.ts";

/** How the flags are checked. */
export interface CopiedOptions {
  readonly signal: AbortSignal | undefined;
  /** Take away flags of what has more than one user: that is always safe. */
  readonly clear: boolean;
  /** Add flags to what has one user. */
  readonly set: boolean;
  readonly progress: (done: number, found: number) => void;
}

/**
 * Checks the COPIED flags of the active tables: a flag says that the refcount is exactly one, and then the cluster is
 * overwritten in place. In the tables of snapshots they mean nothing (qcow2 specification, "Cluster mapping").
 */
export async function checkCopiedFlags(
  image: CheckedImage,
  structure: RefcountStructure,
  findings: Findings,
  options: CopiedOptions,
): Promise<void> {
  const { header, geometry, file } = image;
  const l1 = new Uint8Array(header.l1Entries * 8);
  await readHost(file, header.l1Offset, [l1]);
  const flags = new CopiedFlags(image, structure, findings, options);
  await flags.checkL1(l1);
  const tables = namedTables(l1, geometry.clusterSize, () => {});
  options.progress(0, tables.offsets.length);
  for await (const table of readTables(file, tables.offsets, geometry.clusterSize, options.signal)) {
    options.progress(1, 0);
    const offset = tables.offsets[table.index] ?? 0;
    // A table that cannot be read has been told; beyond the end of the file there is none.
    if (table.bytes === undefined || offset >= file.info.size) continue;
    await flags.checkL2(table.bytes, offset, tables.times[table.index] ?? 1);
  }
}

class CopiedFlags {
  readonly #image: CheckedImage;
  readonly #structure: RefcountStructure;
  readonly #findings: Findings;
  readonly #options: CopiedOptions;

  constructor(image: CheckedImage, structure: RefcountStructure, findings: Findings, options: CopiedOptions) {
    this.#image = image;
    this.#structure = structure;
    this.#findings = findings;
    this.#options = options;
  }

  async checkL1(bytes: Uint8Array): Promise<void> {
    const view = viewOf(bytes);
    for (let at = 0; at < bytes.length; at += 8) {
      const high = view.getUint32(at);
      const offset = hostOffsetOf(high, view.getUint32(at + 4));
      // Without a table there is nothing to be the only user of.
      const count = offset === 0 ? 0 : await this.#count(offset);
      if (count === undefined || (count === 1) === ((high & COPIED) !== 0)) continue;
      await this.#wrong(`L1 entry ${at / 8}`, count, this.#image.header.l1Offset + at, high, 1);
    }
  }

  async checkL2(bytes: Uint8Array, table: number, times: number): Promise<void> {
    const { geometry, hasDataFile } = this.#image;
    const view = viewOf(bytes);
    for (let at = 0; at < bytes.length; at += geometry.l2EntryBytes) {
      const high = view.getUint32(at);
      const low = view.getUint32(at + 4);
      if (high === 0 && low === 0) continue;
      const type = clusterType(high, geometry.extendedL2 ? (low & ~1) >>> 0 : low, hasDataFile);
      if (type !== ClusterType.Normal && type !== ClusterType.ZeroAllocated) continue;
      const offset = hostOffsetOf(high, low);
      // Clusters of a data file have no refcount: each belongs to its place alone.
      const count = hasDataFile
        ? 1
        : (this.#structure.countOf(this.#cluster(offset)) ?? (await this.#count(offset)));
      if (count === undefined || (count === 1) === ((high & COPIED) !== 0)) continue;
      const where = `entry ${at / geometry.l2EntryBytes} of the L2 table at 0x${table.toString(16)}`;
      await this.#wrong(where, count, table + at, high, times);
    }
  }

  #cluster(offset: number): number {
    return Math.floor(offset / this.#image.geometry.clusterSize);
  }

  /** The refcount of a cluster, or undefined when it cannot be read, which has been told. */
  async #count(offset: number): Promise<number | undefined> {
    const cluster = this.#cluster(offset);
    const known = this.#structure.countOf(cluster);
    if (known !== undefined) return known;
    return (await this.#structure.load(cluster)) ? this.#structure.countOf(cluster) : undefined;
  }

  async #wrong(where: string, count: number, host: number, high: number, times: number): Promise<void> {
    const what = `the copied flag of ${where} disagrees with a refcount of ${count}`;
    if (!(count === 1 ? this.#options.set : this.#options.clear)) {
      this.#findings.corruption(what, times);
      return;
    }
    const word = new Uint8Array(4);
    viewOf(word).setUint32(0, (count === 1 ? high | COPIED : high & ~COPIED) >>> 0);
    await this.#image.file.write(host, [word]);
    this.#findings.fixedCorruption(what);
  }
}
