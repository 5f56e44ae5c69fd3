import type { BlockEdge, BlockGraph, DirtyBitmap, DrainedSection } from "@blockmirror/block-driver";
import type { JobControl } from "@blockmirror/blockjob";
import type { Convergence } from "./convergence.ts";
import type { CopyEngine } from "./copy-engine.ts";
import { isTraced, trace } from "./tracing.ts";

/** A hold may last this many times as long as it should before it is given up, and at least so many milliseconds. */
const PATIENCE = 5;
const LEAST_PATIENCE_MS = 50;
/** And the next one this many times as long as that one, within the bound, in milliseconds. */
const MORE_PATIENCE = 2;
const MOST_PATIENCE_MS = 10_000;

/** What a {@link GuestHold} works with. */
export interface GuestHoldInit {
  /** The job's id, for those who trace it. */
  readonly id: string;
  readonly graph: BlockGraph;
  readonly source: BlockEdge;
  readonly dirty: DirtyBitmap;
  readonly engine: CopyEngine;
  readonly convergence: Convergence;
  /** The longest that guests should be held, in milliseconds; 0: no longer than it takes. */
  readonly switchPauseMs: number;
  /** Whether operations may be submitted, drained or not. */
  readonly mayCopy: () => boolean;
  /** Whether the job has failed. */
  readonly hasFailed: () => boolean;
  /** Flushes the target; false when it could not, without an end of the job. */
  readonly flush: () => Promise<boolean>;
}

/**
 * Holds guests for the moment in which target and source are made equal; never for longer than they can bear. A target that
 * takes longer than that each time, for a flush say, would keep a job with busy guests from ever ending, and hold them again
 * and again for nothing: so each hold that was given up makes the next one longer.
 */
export class GuestHold {
  readonly #init: GuestHoldInit;
  #patienceMs: number;

  constructor(init: GuestHoldInit) {
    this.#init = init;
    this.#patienceMs = Math.max(LEAST_PATIENCE_MS, init.switchPauseMs * PATIENCE);
  }

  /**
   * Holds the guests and copies what they had written until then. The section is returned only if target and source are
   * then equal (mirror rules S28.1 to S28.3); otherwise the guests go on and undefined is returned.
   */
  async clean(job: JobControl): Promise<DrainedSection | undefined> {
    const { source, dirty, id, engine, convergence } = this.#init;
    const graph = isFinalizing(job) ? this.#init.graph.changing() : this.#init.graph;
    // While it waits for the guests, drained sections of others take the job for quiet.
    await engine.waitForAll();
    if (this.#isHeld(job, job.shouldPause)) return undefined;
    if (isTraced("before_drain")) trace("before_drain", { job: id, dirtyBytes: dirty.dirtyBytes });
    const section = await job.whileDraining(() => graph.drain(source.node));
    let clean = false;
    try {
      if (this.#isHeld(job, job.isHeldByOthers)) return undefined;
      // Guests must not wait for a retry, nor for a target that has become slow: the hold then ends without result.
      const endMs = job.clock.now() + this.#patienceMs;
      const mayGoOn = (): boolean => this.#init.mayCopy() && job.clock.now() <= endMs;
      for (let ended = -1; ended !== engine.operationsEnded;) {
        if (dirty.bits.isEmpty || !convergence.isNearlyClean() || !mayGoOn()) break;
        ended = engine.operationsEnded;
        await engine.fill(mayGoOn);
        if (!(await endsInTime(job, engine.waitForAll(), endMs))) break;
      }
      // Nobody waits any more for a job that was thrown away, so nobody would ever end its section.
      clean = convergence.isClean() && !this.#init.hasFailed() && !job.isForceCancelled;
      if (!clean) this.#giveUp(job, endMs);
      return clean ? section : undefined;
    } finally {
      if (!clean) section.end();
    }
  }

  /** The same with the target flushed: what guests do next may rely on it. */
  async cleanAndFlushed(job: JobControl): Promise<DrainedSection | undefined> {
    const section = await this.clean(job);
    if (section === undefined) return undefined;
    const endMs = job.clock.now() + this.#patienceMs;
    const flushed = this.#init.flush();
    // A flush that takes too long goes on without the guests held; whoever flushes next waits for it.
    const isFlushed = (await endsInTime(job, flushed, endMs)) && (await flushed);
    if (isFlushed && !job.isForceCancelled) return section;
    this.#giveUp(job, endMs);
    section.end();
    return undefined;
  }

  /** When it is finalized, the sections of other jobs that are finalized with it may hold it, and wait for it. */
  #isHeld(job: JobControl, held: boolean): boolean {
    return held && !isFinalizing(job);
  }

  #giveUp({ clock }: JobControl, endMs: number): void {
    if (clock.now() < endMs) return;
    const longerMs = Math.min(MOST_PATIENCE_MS, this.#patienceMs * MORE_PATIENCE);
    this.#patienceMs = Math.max(this.#patienceMs, longerMs);
  }
}

function isFinalizing({ status }: JobControl): boolean {
  return status === "pending";
}

/** Whether `work` settles before `endMs` and before the job is given up: a target that hangs must not hold guests. */
function endsInTime(
  { clock, forceCancelSignal }: JobControl,
  work: Promise<unknown>,
  endMs: number,
): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (inTime: boolean): void => {
      unschedule();
      forceCancelSignal.removeEventListener("abort", giveUp);
      resolve(inTime);
    };
    const giveUp = (): void => end(false);
    const unschedule = clock.schedule(Math.max(0, endMs - clock.now()), giveUp);
    forceCancelSignal.addEventListener("abort", giveUp, { once: true });
    work.then(
      () => end(true),
      () => end(true),
    );
  });
}
