import { isPromise, type MaybePromise } from "../../../contract/io.ts";
import type { ClusterAllocator, ClusterRun } from "../metadata/cluster-allocator.ts";

/** Writers that are followed at the same time. */
const STREAMS = 8;
/** Bytes kept free behind a writer that goes on where it ended. */
const AHEAD_BYTES = 4 * 1024 * 1024;

/** A writer that may go on at `nextGuest`, with the host clusters kept for it. */
interface Stream {
  nextGuest: number;
  kept: number;
  keptCount: number;
  keptFresh: boolean;
}

/**
 * Keeps neighbours in the guest neighbours in the file: behind a writer that goes on where it ended, a few host clusters
 * are kept free for it, so that two sequential writers do not interleave. What was kept and not used is given back; a
 * crash before that leaks it.
 */
export class AllocationStreams {
  readonly #allocator: ClusterAllocator;
  readonly #ahead: number;
  /** Most recently used last. */
  #streams: Stream[] = [];

  constructor(allocator: ClusterAllocator, clusterSize: number) {
    this.#allocator = allocator;
    this.#ahead = Math.floor(AHEAD_BYTES / clusterSize);
  }

  /** Takes up to `count` contiguous host clusters for guest clusters from `guestCluster` on. */
  allocate(guestCluster: number, count: number): MaybePromise<ClusterRun> {
    const index = this.#streams.findIndex((stream) => stream.nextGuest === guestCluster);
    const stream = this.#streams[index];
    if (stream === undefined) return this.#begin(guestCluster, count);
    this.#streams.splice(index, 1);
    this.#streams.push(stream);
    if (stream.keptCount > 0) return this.#useKept(stream, count);
    const run = this.#allocator.allocate(count);
    if (isPromise(run)) return run.then((taken) => this.#goOn(stream, guestCluster, taken));
    return this.#goOn(stream, guestCluster, run);
  }

  /** Gives back everything that is kept and not used. */
  async giveBack(): Promise<void> {
    const streams = this.#streams;
    this.#streams = [];
    for (const stream of streams) await this.#return(stream);
  }

  #begin(guestCluster: number, count: number): MaybePromise<ClusterRun> {
    const run = this.#allocator.allocate(count);
    if (isPromise(run)) return run.then((taken) => this.#remember(guestCluster, taken));
    return this.#remember(guestCluster, run);
  }

  #remember(guestCluster: number, run: ClusterRun): ClusterRun {
    this.#streams.push({ nextGuest: guestCluster + run.count, kept: 0, keptCount: 0, keptFresh: false });
    if (this.#streams.length > STREAMS) {
      const oldest = this.#streams.shift();
      // A refcount that cannot be read now leaves a leak, which is all that can be lost here.
      if (oldest !== undefined && oldest.keptCount > 0) this.#return(oldest).catch(() => {});
    }
    return run;
  }

  /** The writer has come back to where it ended: from now on room is kept for it. */
  #goOn(stream: Stream, guestCluster: number, run: ClusterRun): ClusterRun {
    stream.nextGuest = guestCluster + run.count;
    const room = this.#ahead > 0 ? this.#allocator.extend(run.cluster + run.count, this.#ahead) : undefined;
    if (room !== undefined) {
      stream.kept = room.cluster;
      stream.keptCount = room.count;
      stream.keptFresh = room.fresh;
    }
    return run;
  }

  async #return(stream: Stream): Promise<void> {
    const { kept, keptCount } = stream;
    stream.keptCount = 0;
    if (keptCount > 0) await this.#allocator.giveBack(kept, keptCount);
  }

  /** Takes what was kept, refilled from behind first, so that a steady writer's requests stay whole. */
  #useKept(stream: Stream, count: number): ClusterRun {
    if (stream.keptCount < count) {
      const missing = count - stream.keptCount + this.#ahead;
      const more = this.#allocator.extend(stream.kept + stream.keptCount, missing);
      if (more !== undefined) {
        stream.keptCount += more.count;
        stream.keptFresh &&= more.fresh;
      }
    }
    const taken = Math.min(count, stream.keptCount);
    const run = { cluster: stream.kept, count: taken, fresh: stream.keptFresh };
    stream.kept += taken;
    stream.keptCount -= taken;
    stream.nextGuest += taken;
    return run;
  }
}
