import type { IoVec, MaybePromise } from "../../../contract/io.ts";
import { isPromise } from "../../../contract/io.ts";
import { BlockError } from "../../../errors.ts";
import { AllocationStreams } from "../allocation/allocation-streams.ts";
import { InFlightAllocations } from "../allocation/in-flight.ts";
import { listSnapshots } from "../check/snapshot-list.ts";
import { Autoclear, Incompatible, KNOWN_AUTOCLEAR, Limits } from "../format/constants.ts";
import { hasFeature } from "../format/header.ts";
import type { Image } from "../image.ts";
import { ClusterAllocator } from "../metadata/cluster-allocator.ts";
import { CommitEngine } from "../metadata/commit.ts";
import { writeAutoclear } from "../metadata/header-fields.ts";
import { HostFile } from "../metadata/host-file.ts";
import { readHost } from "../metadata/host-read.ts";
import { ImageFence } from "../metadata/image-fence.ts";
import type { L2Slice } from "../metadata/l2-slice.ts";
import { MetadataKind, MetadataMap, metadataName } from "../metadata/metadata-map.ts";
import type { ReadEpochs } from "../metadata/read-epochs.ts";
import { Refcounts } from "../metadata/refcounts.ts";
import { ReleasedClusters } from "../metadata/released-clusters.ts";

/** Clusters of snapshots' tables that are guarded at most: no honest image has as many, and memory stays bounded. */
const MOST_GUARDED = 1024 * 1024;

/** What writing needs of the rest of the driver. */
export interface WriteStateInit {
  readonly image: Image;
  readonly epochs: ReadEpochs;
  /** Reads guest data as a guest would: what copy-on-write copies. The range is inside the virtual size. */
  readonly readGuest: (offset: number, into: IoVec) => MaybePromise<void>;
}

/** Everything that the parts of an image's writer share. */
export class WriteState {
  readonly image: Image;
  readonly epochs: ReadEpochs;
  readonly readGuest: (offset: number, into: IoVec) => MaybePromise<void>;
  readonly file: HostFile;
  /** Where guest data goes: `file`, or the external data file. */
  readonly data: HostFile;
  /** The data file alone has to be a valid raw image. */
  readonly rawDataFile: boolean;
  readonly fence: ImageFence;
  readonly map: MetadataMap = new MetadataMap();
  readonly inFlight: InFlightAllocations = new InFlightAllocations();
  readonly refcounts: Refcounts;
  readonly released: ReleasedClusters;
  readonly allocator: ClusterAllocator;
  readonly streams: AllocationStreams;
  readonly commit: CommitEngine;
  /** The disk has been made smaller, and with it perhaps the file. */
  shrunk = false;
  /** Bytes that copy-on-write has read from below. */
  copiedBytes = 0;
  /**
   * Run in order, each once, before the first change of the image; each may write the header. A hook
   * that keeps the persistent bitmaps in step from then on sets {@link maintainsBitmaps}.
   */
  readonly beforeFirstChange: (() => MaybePromise<void>)[] = [];
  /** Somebody keeps persistent bitmaps in step; without, they are declared stale before the first change. */
  maintainsBitmaps = false;
  readonly #openedSize: number;
  readonly #tables = new Map<number, Promise<void>>();
  #prepared = false;
  #preparing: Promise<void> | undefined;

  constructor({ image, epochs, readGuest }: WriteStateInit) {
    const { geometry, label, header } = image;
    this.image = image;
    this.epochs = epochs;
    this.readGuest = readGuest;
    const { beginWork } = image;
    this.file = new HostFile(image.file, label, { beginWork });
    // A data file is as large as the disk, neither less nor more.
    const exactSize = (): number => image.virtualSize;
    this.data = image.hasDataFile ? new HostFile(image.data, label, { beginWork, exactSize }) : this.file;
    this.rawDataFile = hasFeature(header.autoclear, Autoclear.RawDataFile);
    this.fence = new ImageFence(image, this.file);
    const { map, fence, file } = this;
    this.#openedSize = file.size;
    this.refcounts = new Refcounts({
      file: image.file,
      geometry,
      tableOffset: header.refcountTableOffset,
      tableClusters: header.refcountTableClusters,
      map,
      fence,
      label,
      // Whoever writes the whole header later must not lead back to the old table.
      onMoved: (refcountTableOffset, refcountTableClusters) => {
        image.header = { ...image.header, refcountTableOffset, refcountTableClusters };
      },
    });
    this.released = new ReleasedClusters({
      refcounts: this.refcounts,
      geometry,
      map,
      fence,
      file,
      epochs,
      beginWork: image.beginWork,
      onFree: (cluster) => this.allocator.noteFree(cluster),
      onLeak: (cause) => {
        const text = cause instanceof Error ? cause.message : String(cause);
        image.report({
          type: "warning",
          message: `${label}: some freed space is lost until a check: ${text}`,
        });
      },
    });
    this.allocator = new ClusterAllocator({
      refcounts: this.refcounts,
      geometry,
      map,
      fence,
      released: this.released,
      fileSize: file.size,
      label,
    });
    this.streams = new AllocationStreams(this.allocator, geometry.clusterSize);
    this.commit = new CommitEngine({
      image,
      file,
      dataFile: image.hasDataFile ? this.data : undefined,
      geometry,
      refcounts: this.refcounts,
      released: this.released,
      map,
      fence,
    });
  }

  /** Metadata is loaded and the header says what it has to say while somebody writes. */
  get prepared(): boolean {
    return this.#prepared;
  }

  /**
   * What has to happen before the first change, and only then: an image that is opened for writing and never written stays
   * as it is, byte for byte.
   */
  prepare(): Promise<void> {
    this.#preparing ??= this.#prepare().finally(() => (this.#preparing = undefined));
    return this.#preparing;
  }

  /**
   * The slice that maps `offset`, in a table that this image alone uses and may change in place: made, or copied from one
   * shared with a snapshot, if need be.
   */
  writableSlice(offset: number): MaybePromise<L2Slice | undefined> {
    const l1Index = Math.floor(offset / this.image.geometry.l2Coverage);
    if (this.image.l1.isCopied(l1Index) && this.image.l1.offsetOf(l1Index) !== 0) {
      return this.image.l2.get(offset);
    }
    let making = this.#tables.get(l1Index);
    if (making === undefined) {
      making = this.#makeTable(l1Index).finally(() => this.#tables.delete(l1Index));
      this.#tables.set(l1Index, making);
    }
    return making.then(() => this.image.l2.get(offset));
  }

  /**
   * Refuses to write guest data over metadata.
   * @throws BlockError `BLK_CORRUPT`, fencing the image.
   */
  mustNotOverlap(hostOffset: number, length: number): void {
    if (this.image.hasDataFile) return;
    const { clusterSize } = this.image.geometry;
    const first = Math.floor(hostOffset / clusterSize);
    const kinds = this.map.kindsIn(first, Math.floor((hostOffset + length - 1) / clusterSize) - first + 1);
    if (kinds === 0 && first > 0) return;
    throw this.fence.corrupt(
      `guest data at offset 0x${hostOffset.toString(16)} overlaps ${metadataName(kinds | (first === 0 ? MetadataKind.Header : 0))}`,
      hostOffset,
      length,
    );
  }

  /**
   * Cuts what the file was grown by ahead of need. What was there when the image was opened stays: should its refcounts be
   * wrong, there may be data beyond the last cluster that they know.
   */
  async trim(): Promise<void> {
    if (this.file.counters.resizes === 0 && !this.shrunk) return;
    if (this.file.info.can.resize !== "both") return;
    const used = await this.allocator.usedEnd();
    const end = this.shrunk ? used : Math.max(used, this.#openedSize);
    if (end < this.file.size) await this.file.resize(end);
  }

  async #prepare(): Promise<void> {
    if (this.#prepared) return;
    const { image, map } = this;
    if (hasFeature(image.header.incompatible, Incompatible.Dirty)) {
      throw new BlockError(
        "EACCES",
        `${image.label}: it was not closed properly and its refcounts are stale; repair it first: blockmirror check --repair all`,
        { node: image.label, operation: "write" },
      );
    }
    map.add(MetadataKind.Header, 0);
    await this.refcounts.load();
    this.#mapTables();
    await this.#mapSnapshots();
    for (let hook = this.beforeFirstChange[0]; hook !== undefined; hook = this.beforeFirstChange[0]) {
      await hook();
      this.beforeFirstChange.shift();
    }
    await this.#clearFeatures();
    this.#prepared = true;
  }

  #mapTables(): void {
    const { image, map } = this;
    const { clusterSize } = image.geometry;
    const clusters = (bytes: number): number => Math.ceil(bytes / clusterSize);
    const { header, l1 } = image;
    map.add(MetadataKind.L1Table, header.l1Offset / clusterSize, clusters(header.l1Entries * 8));
    const tables: number[] = [];
    for (let index = 0; index < l1.entries; index += 1) {
      const offset = l1.offsetOf(index);
      if (offset !== 0) tables.push(Math.floor(offset / clusterSize));
    }
    map.addAll(MetadataKind.L2Table, tables);
  }

  /** The tables of snapshots, as far as they make sense: a snapshot that does not is found out by whoever uses it. */
  async #mapSnapshots(): Promise<void> {
    const { image, map } = this;
    const { header } = image;
    if (header.snapshotCount === 0) return;
    const { clusterSize } = image.geometry;
    const { snapshots, tableBytes } = await listSnapshots(image);
    map.add(
      MetadataKind.SnapshotTable,
      header.snapshotsOffset / clusterSize,
      Math.ceil(tableBytes / clusterSize),
    );
    const guarded = new Set<number>();
    for (const { l1Offset, l1Entries } of snapshots) {
      if (l1Offset % clusterSize !== 0 || l1Entries * 8 > Limits.l1Bytes) continue;
      const first = l1Offset / clusterSize;
      const end = Math.ceil(Math.min(this.file.size, l1Offset + l1Entries * 8) / clusterSize);
      for (let cluster = first; cluster < end && guarded.size < MOST_GUARDED; cluster += 1)
        guarded.add(cluster);
    }
    map.addAll(MetadataKind.InactiveL1Table, guarded);
  }

  /** Unknown autoclear bits, and bitmaps that nobody keeps in step, must be gone before the first change (commit rule 10). */
  async #clearFeatures(): Promise<void> {
    const { image } = this;
    if (image.header.version < 3) return;
    let autoclear = image.header.autoclear & KNOWN_AUTOCLEAR;
    if (!this.maintainsBitmaps) autoclear &= ~Autoclear.Bitmaps;
    if (autoclear === image.header.autoclear) return;
    const header = { ...image.header, autoclear };
    await writeAutoclear(this.file, header);
    await this.fence.flush();
    image.header = header;
  }

  async #makeTable(l1Index: number): Promise<void> {
    const { image, map } = this;
    const { clusterSize } = image.geometry;
    const old = image.l1.offsetOf(l1Index);
    let base: Uint8Array | undefined;
    if (old !== 0) {
      if (old % clusterSize !== 0 || old >= this.file.size) {
        throw this.fence.corrupt(
          `the L2 table of L1 entry ${l1Index} at offset 0x${old.toString(16)} is invalid`,
          old,
        );
      }
      base = new Uint8Array(clusterSize);
      await readHost(image.file, old, [base]);
    }
    const answer = this.allocator.allocate(1);
    const run = isPromise(answer) ? await answer : answer;
    map.add(MetadataKind.L2Table, run.cluster);
    image.l1.set(l1Index, run.cluster * clusterSize);
    image.l2.createTable(l1Index, run.cluster * clusterSize, base);
    if (old !== 0) {
      map.remove(MetadataKind.L2Table, old / clusterSize);
      this.released.add(old / clusterSize, 1, false);
    }
  }
}
