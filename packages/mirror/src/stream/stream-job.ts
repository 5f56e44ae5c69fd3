import {
  allocateAligned,
  type BlockEdge,
  type BlockGraph,
  type BlockNode,
  ExtentFlag,
  ExtentList,
  type IoOptions,
  isZero,
  NO_CLAIM,
  StatusResolver,
} from "@blockmirror/block-driver";
import type { ErrorPolicy, JobControl, JobDriver } from "@blockmirror/blockjob";
import { everyStep } from "../every-step.ts";
import { HangGuard, hangs, reportLate } from "../hang-guard.ts";
import type { StreamFilter } from "./stream-filter.ts";

/** Bytes within which everything that is missing is filled in at a time. */
const WINDOW: number = 1024 * 1024;
/** What is missing lies in pieces; they are waited for together. */
const TOGETHER: IoOptions = { batch: true };
/** One query of what is where spans at most this much. */
const QUERY: number = 1024 * 1024 * 1024;
/** The loop reaches a pause point at least this often, in milliseconds. */
const SLICE_MS = 100;

/** What a stream adds to its job's snapshot. */
export interface StreamDetails {
  /** Node names. */
  readonly image: string;
  /** What the image stands on afterwards; undefined for nothing. */
  readonly base: string | undefined;
  /** Bytes that were read from below and written to the image. */
  readonly bytesCopied: number;
}

/** What a {@link StreamJob} is made from; everything is attached already. */
export interface StreamJobInit {
  readonly graph: BlockGraph;
  /** The image that is filled, below the filter. */
  readonly image: BlockEdge;
  readonly filter: BlockNode;
  readonly device: StreamFilter;
  /** What is at this node and below stays there; undefined: everything is taken. */
  readonly base: BlockNode | undefined;
  readonly onError: ErrorPolicy;
  /** Makes the image record what it stands on, and stand on it. */
  readonly relink: () => Promise<void>;
  /** Takes that back. */
  readonly undo: () => Promise<void>;
  /** Called on every exit path, last. */
  readonly clean: () => Promise<void>;
}

/** A part of the image that is missing. */
interface Piece {
  readonly offset: number;
  readonly length: number;
  /** Where it is read into; undefined: it is zeroes, and is written as such. */
  readonly bytes: Uint8Array | undefined;
}

/** Does something to all pieces at a time; the first failure is thrown when all have ended, for they share a buffer. */
async function allOf(pieces: readonly Piece[], work: (piece: Piece) => Promise<void>): Promise<void> {
  for (const outcome of await Promise.allSettled(pieces.map(work)))
    if (outcome.status === "rejected") throw outcome.reason;
}

/**
 * Fills an image with what it shows of the layers below it, down to but without a base, so that it does not need them any
 * more. What the image shows never changes.
 */
export class StreamJob implements JobDriver<StreamDetails> {
  readonly type = "stream";
  readonly #init: StreamJobInit;
  readonly #resolver = new StatusResolver();
  readonly #extents = new ExtentList(1024);
  readonly #again = new ExtentList(WINDOW / 4096);
  readonly #guard = new HangGuard();
  readonly #buffer = allocateAligned(WINDOW);
  #bytesCopied = 0;
  #failure: { readonly error: unknown } | undefined;

  constructor(init: StreamJobInit) {
    this.#init = init;
  }

  async run(job: JobControl): Promise<void> {
    await this.#guard.wait(job, this.#work(job));
  }

  async #work(job: JobControl): Promise<void> {
    const { image } = this.#init;
    const { size } = image.info;
    let sliceEnd = job.clock.now() + SLICE_MS;
    job.setProgress(0, size);
    for (let at = 0; at < size && !job.isForceCancelled;) {
      await this.#ask(at, Math.min(QUERY, size - at), this.#extents);
      const { count, next } = this.#extents;
      let from = at;
      for (let index = 0; !job.isForceCancelled;) {
        index = this.#nextWanted(index, from);
        if (index === count) break;
        from = Math.max(from, this.#extents.offsetAt(index));
        const end = this.#windowEnd(index, from);
        await job.pausePoint();
        if (!(await this.#fill(job, from, end - from))) continue;
        from = end;
        job.setProgress(from, size);
        if (job.limitDelayMs > 0) await job.sleepForLimit();
        else if (job.clock.now() >= sliceEnd) await job.sleep(0);
        if (job.clock.now() >= sliceEnd) sliceEnd = job.clock.now() + SLICE_MS;
      }
      at = next;
      if (!job.isForceCancelled) {
        job.setProgress(Math.min(at, size), size);
        await job.sleep(0);
      }
    }
    if (this.#failure !== undefined) throw this.#failure.error;
    if (!job.isForceCancelled) await image.flush();
  }

  /** The image has everything: it leaves the layers that it does not need. */
  async prepare(): Promise<void> {
    await this.#init.relink();
  }

  /** It could not, or another job of the transaction could not be switched. */
  async abort(): Promise<void> {
    await this.#init.undo();
  }

  /**
   * The filter and the claim go, on every exit path.
   * @throws BlockError `ETIMEDOUT` when a device hangs after a forced cancel; the rest of this follows when it has answered.
   */
  async clean(): Promise<void> {
    const { filter, image } = this.#init;
    const leaving = this.#leave();
    if (await this.#guard.endsInTime(leaving)) return;
    reportLate(image.node, leaving);
    throw hangs(image.node, `'${filter.name}' stays above it`);
  }

  async #leave(): Promise<void> {
    const { filter, image } = this.#init;
    const graph = this.#init.graph.changing();
    await everyStep([
      () => this.#guard.removeFilter(graph, filter, image.node),
      // Whoever drains the image is told by this edge when all of it is over, so it claims nothing any more and goes last.
      () => graph.reclaim(image, NO_CLAIM),
      () => this.#init.clean(),
      () => graph.detach(image),
    ]);
  }

  details(): StreamDetails {
    const { image, base } = this.#init;
    return { image: image.node.name, base: base?.name, bytesCopied: this.#bytesCopied };
  }

  #ask(offset: number, length: number, into: ExtentList): Promise<void> {
    const { image, base } = this.#init;
    return this.#resolver.resolve(
      image.node,
      offset,
      length,
      into,
      base === undefined ? {} : { above: base },
    );
  }

  /** The first extent from `index` on that is wanted and ends behind `from`; the number of extents when there is none. */
  #nextWanted(index: number, from: number): number {
    const { count } = this.#extents;
    let at = index;
    while (at < count && !(this.#isWanted(this.#extents, at) && this.#endOf(at) > from)) at += 1;
    return at;
  }

  /** Where the last of what is wanted ends that begins with `from`, in extent `index`, and fits into a window. */
  #windowEnd(index: number, from: number): number {
    const limit = from + WINDOW;
    let end = from;
    for (let at = index; at < this.#extents.count && this.#extents.offsetAt(at) < limit; at += 1)
      if (this.#isWanted(this.#extents, at)) end = Math.min(limit, this.#endOf(at));
    return end;
  }

  #endOf(index: number): number {
    return this.#extents.offsetAt(index) + this.#extents.lengthAt(index);
  }

  /** Held by a layer that goes. Without a base, zeroes need not be written: nothing below shows any more. */
  #isWanted(extents: ExtentList, index: number): boolean {
    const flags = extents.flagsAt(index);
    if (extents.depthAt(index) === 0 || (flags & ExtentFlag.Deferred) !== 0) return false;
    return this.#init.base !== undefined || (flags & ExtentFlag.Zero) === 0;
  }

  /** False when it has to be tried again, after the pause point. */
  async #fill(job: JobControl, offset: number, length: number): Promise<boolean> {
    try {
      await this.#init.device.alone(offset, length, () => this.#fillAlone(job, offset, length));
      return true;
    } catch (error) {
      // The job may be over, with nobody to tell.
      if (job.isForceCancelled) return false;
      const { onError: policy } = this.#init;
      const action = job.handleError(error, { operation: "read", policy });
      if (action === "stop") return false;
      if (action === "report") throw error;
      // What is left out is still needed from below, so the chain has to stay as it is.
      this.#failure ??= { error };
      return true;
    }
  }

  /** Asks again, now that nobody changes the range: a guest may have written a part of it meanwhile. */
  async #fillAlone(job: JobControl, offset: number, length: number): Promise<void> {
    const end = offset + length;
    for (let at = offset; at < end && !job.isForceCancelled; at = this.#again.next) {
      await this.#ask(at, end - at, this.#again);
      await this.#copy(job, this.#wantedPieces(offset));
    }
  }

  /** What {@link #again} says is wanted; `base` is where the buffer begins. */
  #wantedPieces(base: number): readonly Piece[] {
    const list = this.#again;
    const pieces: Piece[] = [];
    for (let index = 0; index < list.count; index += 1) {
      if (!this.#isWanted(list, index)) continue;
      const [offset, length] = [list.offsetAt(index), list.lengthAt(index)];
      const isZero = (list.flagsAt(index) & ExtentFlag.Zero) !== 0;
      const bytes = isZero ? undefined : this.#buffer.subarray(offset - base, offset - base + length);
      pieces.push({ offset, length, bytes });
    }
    return pieces;
  }

  /** Reads all pieces, then writes all. */
  async #copy(job: JobControl, pieces: readonly Piece[]): Promise<void> {
    const { image } = this.#init;
    await allOf(pieces, async ({ offset, bytes }) => {
      if (bytes !== undefined) await image.read(offset, [bytes], TOGETHER);
    });
    if (job.isForceCancelled) return;
    await allOf(pieces, async ({ offset, length, bytes }) => {
      if (bytes !== undefined) job.charge(length);
      if (bytes === undefined || isZero(bytes)) await image.writeZeroes(offset, length, { unmap: true });
      else await image.write(offset, [bytes], TOGETHER);
      if (bytes !== undefined) this.#bytesCopied += length;
    });
  }
}
