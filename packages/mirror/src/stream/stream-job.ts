import {
  allocateAligned,
  type BlockEdge,
  type BlockGraph,
  type BlockNode,
  ExtentFlag,
  ExtentList,
  isZero,
  NO_CLAIM,
  StatusResolver,
} from "@blockmirror/block-driver";
import type { ErrorPolicy, JobControl, JobDriver } from "@blockmirror/blockjob";
import { everyStep } from "../every-step.ts";
import { HangGuard, hangs, reportLate } from "../hang-guard.ts";
import type { StreamFilter } from "./stream-filter.ts";

/** Bytes that are filled in at a time. */
const PIECE: number = 1024 * 1024;
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

/**
 * Fills an image with what it shows of the layers below it, down to but without a base, so that it does not need them any
 * more. What the image shows never changes.
 */
export class StreamJob implements JobDriver<StreamDetails> {
  readonly type = "stream";
  readonly #init: StreamJobInit;
  readonly #resolver = new StatusResolver();
  readonly #extents = new ExtentList(1024);
  readonly #again = new ExtentList(64);
  readonly #guard = new HangGuard();
  readonly #buffer = allocateAligned(PIECE);
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
      for (let index = 0; index < count && !job.isForceCancelled; index += 1) {
        if (!this.#isWanted(this.#extents, index)) continue;
        const end = this.#extents.offsetAt(index) + this.#extents.lengthAt(index);
        for (let from = this.#extents.offsetAt(index); from < end && !job.isForceCancelled;) {
          await job.pausePoint();
          const length = Math.min(PIECE, end - from);
          if (!(await this.#fill(job, from, length))) continue;
          from += length;
          job.setProgress(from, size);
          if (job.limitDelayMs > 0) await job.sleepForLimit();
          else if (job.clock.now() >= sliceEnd) await job.sleep(0);
          if (job.clock.now() >= sliceEnd) sliceEnd = job.clock.now() + SLICE_MS;
        }
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
      for (let index = 0; index < this.#again.count; index += 1) {
        if (this.#isWanted(this.#again, index) && !job.isForceCancelled)
          await this.#copy(job, this.#again, index);
      }
    }
  }

  async #copy(job: JobControl, extents: ExtentList, index: number): Promise<void> {
    const { image } = this.#init;
    const [offset, length] = [extents.offsetAt(index), extents.lengthAt(index)];
    if ((extents.flagsAt(index) & ExtentFlag.Zero) !== 0) {
      await image.writeZeroes(offset, length, { unmap: true });
      return;
    }
    const bytes = this.#buffer.subarray(0, length);
    await image.read(offset, [bytes]);
    if (job.isForceCancelled) return;
    job.charge(length);
    if (isZero(bytes)) await image.writeZeroes(offset, length, { unmap: true });
    else await image.write(offset, [bytes]);
    this.#bytesCopied += length;
  }
}
