import { isPromise, type MaybePromise } from "../../../contract/io.ts";
import { BlockError } from "../../../errors.ts";
import type { Geometry } from "../format/geometry.ts";
import { HeaderField } from "../format/header.ts";
import type { Image } from "../image.ts";
import { encodeSize } from "./header-fields.ts";
import type { HostFile } from "./host-file.ts";
import type { ImageFence } from "./image-fence.ts";
import { MetadataKind, metadataName, type MetadataMap } from "./metadata-map.ts";
import type { MetadataWrite } from "./metadata-write.ts";
import type { Refcounts } from "./refcounts.ts";
import type { ReleasedClusters } from "./released-clusters.ts";

/** Metadata writes that run at the same time. */
const IN_FLIGHT = 16;
/** From here on a commit starts in the background, so that a crash loses little and memory stays bounded. */
const WANTED = { bytes: 4 * 1024 * 1024, released: 16_384 } as const;
/** And from here on whoever changes metadata waits for one. */
const PRESSING = { bytes: 16 * 1024 * 1024, released: 65_536 } as const;
/** Neighbouring pieces become one write of at most this many bytes. */
const MOST_MERGED = 1024 * 1024;

/** What commits need. */
export interface CommitInit {
  readonly image: Image;
  readonly file: HostFile;
  /** Where guest data is, if not in `file`. */
  readonly dataFile: HostFile | undefined;
  readonly geometry: Geometry;
  readonly refcounts: Refcounts;
  readonly released: ReleasedClusters;
  readonly map: MetadataMap;
  readonly fence: ImageFence;
}

/** One state of all metadata that differs from the file, taken at one instant. */
interface Snapshot {
  /** Refcount blocks, new tables: what nothing durable depends on, or what only counts more. */
  readonly first: readonly MetadataWrite[];
  /** What makes new refcount blocks count. */
  readonly second: readonly MetadataWrite[];
  /** Mappings: L2 entries and L1 entries. */
  readonly third: readonly MetadataWrite[];
  readonly released: ReturnType<ReleasedClusters["take"]>;
}

/**
 * Writes metadata so that after a crash at any moment the image has lost at most what no flush had promised, and leaks at
 * worst (qcow2 specification: a reference never points to what is not counted or not there). One commit is
 *
 * 1. refcount blocks, new L2 tables and a new refcount table, to which nothing on disk points yet; then a barrier, which
 *    covers the guest data of all finished writes as well;
 * 2. pointers to new refcount blocks, or the header's switch to a new table; then a barrier; rarely needed;
 * 3. L2 entries in place and L1 entries; then a barrier;
 * 4. clusters that lost their last reference by this are given back.
 *
 * A new L2 table may be written in step 1, before what it points to is counted, because it is not reachable before step 3.
 * Once it is durable it counts as written, whatever becomes of step 3, which may have made it reachable even if it failed.
 * At most three barriers make a flush, however many writes it covers; callers that ask meanwhile share the next one.
 */
export class CommitEngine {
  readonly #init: CommitInit;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  /** The header may record another size than the disk has. */
  #isSizeUnknown = false;
  /** Commits that wrote metadata. */
  commits = 0;

  constructor(init: CommitInit) {
    this.#init = init;
  }

  /**
   * Makes everything durable that has been written or linked by now.
   * @throws BlockError what a write below failed with: nothing is lost and the next flush tries again; after a failed
   * barrier the image is fenced.
   */
  flush(): Promise<void> {
    if (this.#running === undefined) return this.#start();
    // One that runs may have taken its snapshot before the caller's last write.
    this.#next ??= this.#running
      .catch(() => {})
      .then(() => {
        this.#next = undefined;
        return this.#start();
      });
    return this.#next;
  }

  /** There is enough to write for a commit that nobody asked for. */
  get wanted(): boolean {
    return this.#isBeyond(WANTED);
  }

  /** There is so much to write that new changes should wait: see {@link relieve}. */
  get pressing(): boolean {
    return this.#isBeyond(PRESSING);
  }

  /** Something differs from the file. */
  get dirty(): boolean {
    const { image, refcounts, released } = this.#init;
    return (
      this.#isSizeUnknown ||
      image.l2.dirtyBytes > 0 ||
      image.l1.dirtyEntries > 0 ||
      refcounts.dirty ||
      released.unlinkedRuns > 0
    );
  }

  /** Writing a new size failed, which may be in the header all the same: the next commit writes the one that holds. */
  restoreSize(): void {
    this.#isSizeUnknown = true;
  }

  /** Commits without anybody waiting. A failure is kept until somebody flushes, since everything stays changed. */
  startInBackground(): void {
    if (this.#running !== undefined) return;
    const endWork = this.#init.image.beginWork();
    this.#start()
      .catch(() => {})
      .finally(endWork);
  }

  /** Waits until there is less to write. Rejects as the commit does. */
  relieve(): Promise<void> {
    return this.#running ?? this.#start();
  }

  #isBeyond(limit: { readonly bytes: number; readonly released: number }): boolean {
    const { image, released } = this.#init;
    return image.l2.dirtyBytes >= limit.bytes || released.unlinkedRuns >= limit.released;
  }

  #start(): Promise<void> {
    this.#running = this.#commit().finally(() => (this.#running = undefined));
    return this.#running;
  }

  async #commit(): Promise<void> {
    const { fence, released } = this.#init;
    fence.check();
    const snapshot = this.#take();
    const stages = [snapshot.first, snapshot.second, snapshot.third];
    let durable = 0;
    try {
      for (const stage of stages) {
        // The first barrier is for guest data as well, whether or not there is metadata.
        if (durable === 0 || stage.length > 0) {
          await this.#write(stage);
          await this.#barrier();
        }
        // What is durable stays so should a later stage fail: a new L2 table may be reachable from then on.
        for (const write of stage) write.done();
        durable += 1;
      }
    } catch (error) {
      for (const stage of stages.slice(durable)) for (const write of stage) write.failed();
      released.restore(snapshot.released);
      // Which refcount table the header names is unknown now; neither may be changed as if nobody read it.
      if (durable === 1 && snapshot.second.some(({ kind }) => kind === MetadataKind.Header)) {
        fence.flushFailed(error);
      }
      throw error;
    }
    if (snapshot.first.length + snapshot.third.length > 0) this.commits += 1;
    released.giveBack(snapshot.released);
  }

  #take(): Snapshot {
    const { image, refcounts, released } = this.#init;
    return {
      first: [...this.#takeSize(), ...refcounts.takeBlocks(), ...image.l2.takeTables()],
      second: refcounts.takePointers(),
      third: [...image.l2.takeSlices(), ...image.l1.takeDirty(image.header.l1Offset)],
      released: released.take(),
    };
  }

  #takeSize(): MetadataWrite[] {
    if (!this.#isSizeUnknown) return [];
    this.#isSizeUnknown = false;
    return [
      {
        kind: MetadataKind.Header,
        offset: HeaderField.size,
        bytes: encodeSize(this.#init.image.header.size),
        done: () => {},
        failed: () => this.restoreSize(),
      },
    ];
  }

  async #barrier(): Promise<void> {
    const { file, dataFile, fence } = this.#init;
    try {
      await allOf([attempt(() => dataFile?.flush()), attempt(() => file.flush())]);
    } catch (error) {
      fence.flushFailed(error);
      throw error;
    }
  }

  /** Writes the pieces, neighbours together, a bounded number at a time. */
  async #write(pieces: readonly MetadataWrite[]): Promise<void> {
    for (const piece of pieces) this.#mustNotOverlap(piece);
    const sorted = [...pieces].sort((a, b) => a.offset - b.offset);
    let running: MaybePromise<void>[] = [];
    for (let at = 0; at < sorted.length;) {
      const offset = sorted[at]?.offset ?? 0;
      const vector: Uint8Array[] = [];
      let end = offset;
      for (; sorted[at]?.offset === end && end - offset < MOST_MERGED && vector.length < 1024; at += 1) {
        const bytes = sorted[at]?.bytes ?? new Uint8Array(0);
        vector.push(bytes);
        end += bytes.length;
      }
      running.push(attempt(() => this.#init.file.write(offset, vector)));
      if (running.length === IN_FLIGHT) {
        await allOf(running);
        running = [];
      }
    }
    await allOf(running);
  }

  /** Metadata may be written over metadata of its own kind only. */
  #mustNotOverlap({ kind, offset, bytes }: MetadataWrite): void {
    const { map, fence, geometry } = this.#init;
    const { clusterSize } = geometry;
    const first = Math.floor(offset / clusterSize);
    const count = Math.floor((offset + bytes.length - 1) / clusterSize) - first + 1;
    const header = first === 0 ? MetadataKind.Header : 0;
    const others = (map.kindsIn(first, count) | header) & ~kind;
    if (others === 0) return;
    throw fence.corrupt(
      `${metadataName(kind)} at offset 0x${offset.toString(16)} overlaps ${metadataName(others)}`,
      offset,
      bytes.length,
    );
  }
}

function attempt(run: () => MaybePromise<void>): MaybePromise<void> {
  try {
    return run();
  } catch (error) {
    return Promise.reject(error instanceof Error ? error : new BlockError("EIO", String(error)));
  }
}

/** Waits for all, also when one fails, so that nothing is still being written when its bytes change again. */
async function allOf(running: readonly MaybePromise<void>[]): Promise<void> {
  const results = await Promise.allSettled(running.filter(isPromise));
  for (const result of results) if (result.status === "rejected") throw result.reason;
}
