import { isPromise } from "../../../contract/io.ts";
import type { Geometry } from "../format/geometry.ts";
import type { HostFile } from "./host-file.ts";
import type { ImageFence } from "./image-fence.ts";
import { metadataName, type MetadataMap } from "./metadata-map.ts";
import type { ReadEpochs } from "./read-epochs.ts";
import type { Refcounts } from "./refcounts.ts";

/** Contiguous clusters to which one reference less will point. */
interface ReleasedRun {
  readonly cluster: number;
  count: number;
  /** Give the space back to the file below. */
  readonly punch: boolean;
}

/** What released clusters need. */
export interface ReleasedClustersInit {
  readonly refcounts: Refcounts;
  readonly geometry: Geometry;
  readonly map: MetadataMap;
  readonly fence: ImageFence;
  readonly file: HostFile;
  readonly epochs: ReadEpochs;
  /** See `OpenContext.beginWork`. */
  readonly beginWork: () => () => void;
  /** Called with every cluster whose refcount has become zero. */
  readonly onFree: (cluster: number) => void;
  /** Called when clusters stay counted though nothing points to them any more. */
  readonly onLeak: (cause: unknown) => void;
}

/**
 * Quarantine. A cluster that lost a reference keeps its refcount, and therefore is not handed out again, until (qcow2
 * specification, "Host cluster management"; commit rules 4, 11 and 12)
 * 1. the change that unlinked it is durable: a crash must not bring back a link to a cluster with other contents;
 * 2. every request that was on its way to it has ended;
 * 3. its hole has been punched, where the space is to be given back.
 * Only then is its refcount lowered.
 */
export class ReleasedClusters {
  readonly #init: ReleasedClustersInit;
  /** Unlinked in memory since the last commit began. */
  #unlinked: ReleasedRun[] = [];
  #returning = 0;
  #settled: Promise<void> = Promise.resolve();

  constructor(init: ReleasedClustersInit) {
    this.#init = init;
  }

  /** Runs that wait for a commit. */
  get unlinkedRuns(): number {
    return this.#unlinked.length;
  }

  /**
   * A reference to each of these clusters has been taken away in memory.
   * @throws BlockError `BLK_CORRUPT`, fencing the image, when they hold metadata that is in use.
   */
  add(cluster: number, count: number, punch: boolean): void {
    const { map, fence, geometry } = this.#init;
    const kinds = map.kindsIn(cluster, count) | (cluster === 0 ? 1 : 0);
    if (kinds !== 0) {
      const offset = cluster * geometry.clusterSize;
      throw fence.corrupt(
        `guest data at offset 0x${offset.toString(16)} is ${metadataName(kinds)}`,
        offset,
        count * geometry.clusterSize,
      );
    }
    const last = this.#unlinked.at(-1);
    if (last !== undefined && last.punch === punch && last.cluster + last.count === cluster)
      last.count += count;
    else this.#unlinked.push({ cluster, count, punch });
  }

  /** What the commit that begins now unlinks. */
  take(): readonly ReleasedRun[] {
    const taken = this.#unlinked;
    this.#unlinked = [];
    return taken;
  }

  /** The commit failed: the runs wait for the next one. */
  restore(runs: readonly ReleasedRun[]): void {
    this.#unlinked = [...runs, ...this.#unlinked];
  }

  /** The unlinking of `runs` is durable: lowers the refcounts as soon as that is safe, without anybody waiting. */
  giveBack(runs: readonly ReleasedRun[]): void {
    if (runs.length === 0) return;
    const passed = this.#init.epochs.passed();
    this.#returning += 1;
    const before = this.#settled;
    const endWork = this.#init.beginWork();
    this.#settled = this.#return(runs, passed, before)
      // Clusters that stay counted are lost space, nothing worse.
      .catch((error: unknown) => this.#init.onLeak(error))
      .finally(() => {
        this.#returning -= 1;
        endWork();
      });
  }

  /** Something is on its way back. */
  get returning(): boolean {
    return this.#returning > 0;
  }

  /** Settles when everything that was given back so far has its new refcount. */
  idle(): Promise<void> {
    return this.#settled;
  }

  async #return(
    runs: readonly ReleasedRun[],
    passed: Promise<void> | undefined,
    before: Promise<void>,
  ): Promise<void> {
    if (passed !== undefined) await passed;
    await before;
    for (const run of runs) {
      if (this.#init.fence.failure !== undefined) return;
      if (run.punch) await this.#punch(run);
      await this.#lower(run);
    }
  }

  /** Advisory: a file that cannot punch keeps the space. Only what nobody else refers to may lose its content. */
  async #punch({ cluster, count }: ReleasedRun): Promise<void> {
    const { refcounts, file, geometry } = this.#init;
    let start = cluster;
    for (let at = cluster; at <= cluster + count; at += 1) {
      const answer = at < cluster + count ? refcounts.get(at) : 0;
      if ((isPromise(answer) ? await answer : answer) === 1) continue;
      if (at > start) {
        try {
          await file.discard(start * geometry.clusterSize, (at - start) * geometry.clusterSize);
        } catch {
          return;
        }
      }
      start = at + 1;
    }
  }

  async #lower({ cluster, count }: ReleasedRun): Promise<void> {
    const { refcounts, onFree } = this.#init;
    for (let at = cluster; at < cluster + count; at += 1) {
      const answer = refcounts.decrement(at);
      const left = isPromise(answer) ? await answer : answer;
      if (left === 0) onFree(at);
    }
  }
}
