import {
  BlockError,
  isPromise,
  skipFilters,
  type BlockEdge,
  type BlockGraph,
  type BlockNode,
  type DirtyBitmap,
  type DrainedSection,
} from "@blockmirror/block-driver";
import type { ChangeOptions, JobControl, JobDriver } from "@blockmirror/blockjob";
import { BackOff } from "./back-off.ts";
import { CopyEngine, type FailedSide } from "./copy-engine.ts";
import type { FoldInit } from "./commit/fold.ts";
import { CopyModeGovernor } from "./copy-mode-governor.ts";
import { Courtesy, COURTEOUS_OPERATIONS } from "./courtesy.ts";
import { createDiskMap, drawDiskMap, type DiskMap } from "./disk-map.ts";
import { GuestWrites } from "./guest-writes.ts";
import { scanFull, scanTop } from "./initial-scan.ts";
import { COPY_MODES, type CopyMode, type ResolvedTuning } from "./options.ts";
import { SwitchOver } from "./switch-over.ts";
import { ProgressMeter } from "./progress-meter.ts";
import type { MirrorPhase, MirrorProgress } from "./progress.ts";
import { isTraced, trace } from "./tracing.ts";
import { ZeroMap } from "./zero-map.ts";

/** The loop reaches a pause point at least this often (mirror rule S20.1). */
const SLICE_MS = 100;
/** A hold may last this many times as long as it should before it is given up. */
const HOLD_PATIENCE = 5;
/** So often the walk comes round with next to nothing left before guests are held to end it. */
const SWEEPS_BEFORE_HOLD = 2;
/** Bytes of one zero request behind the end of the source. */
const MAX_TAIL_ZERO = 1024 * 1024 * 1024;
/** Until a rate is known, this much may be copied while guests are held. */
const DEFAULT_SWITCH_BYTES = 1024 * 1024;

/** What a mirror adds to its job's snapshot. */
export interface MirrorDetails extends MirrorProgress {
  /** Node names. */
  readonly source: string;
  readonly target: string;
  readonly sync: ResolvedTuning["sync"];
  /** The mode in force; `auto` shows which of the two it has chosen. */
  readonly copyMode: Exclude<CopyMode, "auto">;
  /** The job chooses the mode by itself. */
  readonly copyModeIsAutomatic: boolean;
  /** Whether target and source are equal and every write reaches both before the guest sees it settled. */
  readonly activelySynced: boolean;
  /** Bytes per chunk. */
  readonly granularity: number;
  /** Bytes of the disk. */
  readonly size: number;
}

/** What a {@link MirrorJob} is made from; everything is attached already. */
export interface MirrorJobInit {
  /** The job's id, for those who trace it. */
  readonly id: string;
  readonly graph: BlockGraph;
  /** The node that is copied, below the filter. */
  readonly source: BlockEdge;
  readonly target: BlockEdge;
  /** The filter above the source; its parents are the guests. */
  readonly filter: BlockNode;
  /** How many requests guests have made so far. */
  readonly guestRequests: () => number;
  /** The private bitmap on the filter, following writes already. */
  readonly dirty: DirtyBitmap;
  /** Bytes per chunk. */
  readonly granularity: number;
  readonly tuning: ResolvedTuning;
  /** The target names a backing image that is not open; see `SharedWrite`. */
  readonly wholeChunksOnly: boolean;
  /** The node below the source whose users are led to the target; absent: the source's. */
  readonly replaces?: BlockNode;
  /** Set when the target is a backing node of the source, which a commit folds the layers above it into. */
  readonly fold?: FoldInit;
}

/**
 * The mirror as a job type: scan, copy, converge, READY, then switch the guests to the target or leave a consistent copy.
 *
 * It owns the sequence and the pace; {@link CopyEngine} moves the bytes.
 */
export class MirrorJob implements JobDriver<MirrorDetails> {
  readonly type: "mirror" | "commit";
  /** What the filter hands the changes of guests to. */
  readonly guestWrites: GuestWrites;
  readonly #init: MirrorJobInit;
  readonly #size: number;
  readonly #zeroMap: ZeroMap;
  readonly #engine: CopyEngine;
  readonly #meter: ProgressMeter;
  readonly #backOff = new BackOff();
  readonly #switchOver: SwitchOver;
  readonly #courtesy: Courtesy;
  #governor: CopyModeGovernor | undefined;
  #control: JobControl | undefined;
  #phase: MirrorPhase = "scan";
  #failure: unknown;
  #hasFailed = false;
  #unflushed = true;
  #held: DrainedSection | undefined;
  /** Sweeps at the time when next to nothing was left first. */
  #nearlyCleanSince: number | undefined;

  /** @throws BlockError `EINVAL` when the buffer cannot be allocated. */
  constructor(init: MirrorJobInit) {
    const { source, target, dirty, granularity, tuning } = init;
    this.#init = init;
    this.type = init.fold === undefined ? "mirror" : "commit";
    this.#size = source.info.size;
    this.#zeroMap = new ZeroMap(this.#size, granularity);
    this.#engine = new CopyEngine({
      job: init.id,
      source,
      target,
      size: this.#size,
      granularity,
      // No more than the disk has: memory that is never used still has to be found and cleared.
      bufferSize: Math.max(Math.min(tuning.bufferSize, this.#size), granularity),
      dirty,
      zeroMap: this.#zeroMap,
      detectZeroes: tuning.detectZeroes ?? source.info.can.status !== "exact",
      onError: (side, error) => this.#onError(side, error),
      onEnd: () => this.#control?.kick(),
      onSubmit: (bytes) => {
        this.#unflushed = true;
        this.#control?.charge(bytes);
      },
    });
    this.#meter = new ProgressMeter(this.#engine, dirty);
    this.guestWrites = new GuestWrites({
      target,
      size: this.#size,
      granularity,
      dirty,
      zeroMap: this.#zeroMap,
      engine: this.#engine,
      wholeChunksOnly: init.wholeChunksOnly,
      follows: () => !this.#hasFailed && this.#control?.isForceCancelled !== true,
      onError: (error) => {
        this.#onError("write", error);
        this.#control?.kick();
      },
      onWrite: () => {
        this.#unflushed = true;
      },
      onLeave: () => this.#control?.kick(),
    });
    this.#switchOver = new SwitchOver({
      graph: init.graph,
      filter: init.filter,
      source,
      target,
      size: this.#size,
      tuning,
      fold: init.fold,
      replaces: init.replaces,
    });
    this.#courtesy = new Courtesy(init.guestRequests);
    this.#setCopyMode(tuning.copyMode);
  }

  async run(job: JobControl): Promise<void> {
    this.#control = job;
    job.forceCancelSignal.addEventListener("abort", () => this.guestWrites.giveUp(), { once: true });
    try {
      await this.#scan(job);
      await this.#copyUntilDone(job);
    } finally {
      // Operations use the buffer and the bitmaps, so none may outlive the run (mirror rule S32.1).
      await this.#engine.waitForAll();
    }
  }

  async pause(): Promise<void> {
    await this.#engine.waitForAll();
  }

  resume(): void {
    if (this.#control !== undefined) this.#meter.restart(this.#control.clock.now());
  }

  /** Before READY there is nothing worth finishing, so every cancel is a forced one (mirror rules S25.1 and S26.1). */
  cancel(force: boolean): boolean {
    return force || this.#control?.isReady !== true;
  }

  /**
   * The change verb: `{ copyMode }`. It takes effect for requests that begin from now on.
   * @throws BlockError `EINVAL` for another option or an unknown mode.
   */
  change(options: ChangeOptions): void {
    const { copyMode, ...others } = options;
    const mode = COPY_MODES.find((word) => word === copyMode);
    const [other] = Object.keys(others);
    if (mode !== undefined && other === undefined) return this.#setCopyMode(mode);
    throw new BlockError(
      "EINVAL",
      other === undefined
        ? `Change to copy mode '${String(copyMode)}' is not implemented; there are ${COPY_MODES.join(", ")}`
        : `a mirror has no option '${other}' that can be changed; it has copyMode`,
      { operation: "change" },
    );
  }

  /**
   * Accepted in READY; the engine has checked that.
   * @throws BlockError as {@link SwitchOver.ready}; the job goes on then.
   */
  async complete(): Promise<void> {
    await this.#switchOver.ready();
    this.#phase = "switch";
  }

  /** Catches up with what was written while the job waited to be finalized, and holds the guests. */
  async finalize(job: JobControl): Promise<void> {
    // Nothing has been written since, and holding what is below an overlay would hold its own requests up.
    if (this.#init.fold?.record !== undefined) return;
    while (this.#held === undefined) {
      if (this.#hasFailed) throw this.#failure;
      if (job.isForceCancelled) return;
      if (this.#backOff.isWaiting(job.clock.now())) await this.#awaitRetry(job);
      const ended = this.#engine.operationsEnded;
      await this.#copySome(job, () => !this.#hasFailed && !job.isForceCancelled);
      await this.#engine.waitForAll();
      // All that is dirty may be in the hands of guests, who tell when they leave it.
      if (!this.#init.dirty.bits.isEmpty && this.#engine.operationsEnded === ended) await job.sleep(SLICE_MS);
      if (this.#hasFailed || !this.#isNearlyClean() || !(await this.#flush())) continue;
      const section = await this.#holdClean(job);
      if (section === undefined) continue;
      if (await this.#flushHeld(job)) this.#held = section;
      else section.end();
    }
  }

  async prepare(): Promise<void> {
    const requested = this.#control?.isCompleteRequested === true;
    if (requested || this.#init.fold?.record !== undefined) this.#phase = "switch";
    await this.#switchOver.run(requested);
  }

  async abort(): Promise<void> {
    await this.#switchOver.undo();
  }

  /** On every exit path: filter, bitmap, claims and the hold on the guests go (mirror rule S32.3). */
  async clean(): Promise<void> {
    const { graph, filter, dirty, source, target } = this.#init;
    dirty.busy = false;
    filter.removeDirtyBitmap(dirty);
    // A concluded job may stay to be looked at; its buffer need not.
    this.#engine.release();
    try {
      await graph.removeFilter(filter);
    } finally {
      this.#held?.end();
      await graph.detach(source);
      await graph.detach(target);
      await this.#init.fold?.clean(this.switched);
    }
  }

  details(): MirrorDetails {
    const { source, target, tuning, granularity } = this.#init;
    return {
      source: source.node.name,
      target: target.node.name,
      sync: tuning.sync,
      copyMode: this.guestWrites.mode,
      copyModeIsAutomatic: this.#governor !== undefined,
      activelySynced: this.guestWrites.activelySynced,
      granularity,
      size: this.#size,
      ...this.#meter.report(this.#phase),
    };
  }

  /** The state of the disk in `cellCount` cells. `into` is reused when it fits. */
  map(cellCount: number, into?: DiskMap): DiskMap {
    const map = into?.cellCount === cellCount ? into : createDiskMap(cellCount);
    return drawDiskMap(map, this.#size, this.#init.dirty, this.#engine);
  }

  /** Whether the guests were switched to the target. */
  get switched(): boolean {
    return this.#switchOver.done;
  }

  async #scan(job: JobControl): Promise<void> {
    const { source, target, dirty, tuning } = this.#init;
    // Nothing is done, and all of it may have to be: 0 of 0 would look finished.
    job.setProgress(0, this.#size);
    if (tuning.targetIsZero) this.#zeroMap.learn(0, this.#size);
    if (tuning.sync === "full" || tuning.sync === "top") {
      let sinceMs = job.clock.now();
      const init = {
        source: source.node,
        target: target.node,
        size: this.#size,
        dirty,
        zeroMap: this.#zeroMap,
        proceed: async () => {
          if (job.clock.now() - sinceMs >= SLICE_MS) {
            await job.sleep(0);
            sinceMs = job.clock.now();
          }
          return !job.isForceCancelled;
        },
      };
      const below = skipFilters(source.node).child("backing")?.node;
      const base = this.#init.fold?.base ?? (tuning.sync === "top" ? below : undefined);
      await (base === undefined ? scanFull(init) : scanTop(init, base));
    }
    this.#meter.scanned(tuning.sync === "none" ? 0 : Math.max(0, this.#size - dirty.dirtyBytes));
    if (!job.isForceCancelled) await this.#zeroTail(job);
    this.#phase = "copy";
  }

  /** What a larger target has behind the end of the source is made zero, if that was asked for. */
  async #zeroTail(job: JobControl): Promise<void> {
    const { target, tuning } = this.#init;
    if (tuning.largerTarget !== "zero") return;
    this.#phase = "zero";
    for (let at = this.#size; at < target.info.size && !job.isForceCancelled;) {
      if (this.#hasFailed) throw this.#failure;
      await job.pausePoint();
      if (this.#backOff.isWaiting(job.clock.now())) {
        await this.#awaitRetry(job);
        continue;
      }
      const length = Math.min(MAX_TAIL_ZERO, target.info.size - at);
      try {
        this.#unflushed = true;
        await target.writeZeroes(at, length, { unmap: true });
        at += length;
      } catch (error) {
        this.#onError("write", error);
      }
      await job.sleep(0);
    }
  }

  #setCopyMode(mode: CopyMode): void {
    this.#governor = mode === "auto" ? (this.#governor ?? new CopyModeGovernor()) : undefined;
    if (mode !== "auto") this.guestWrites.mode = mode;
  }

  /** Decides how far guests come before the copy, and in which mode they write. */
  #govern(job: JobControl): void {
    const { etaSec } = this.#meter.report(this.#phase);
    const standing = this.#isNearlyClean() ? "even" : etaSec === "never" ? "behind" : undefined;
    this.#courtesy.note(job.clock.now(), standing);
    if (this.#governor === undefined) return;
    this.guestWrites.mode = this.#governor.decide(job.clock.now(), {
      converging: this.#engine.sweeps > 0 || job.isReady,
      etaSec,
      guestBytesPerSec: this.#meter.guestBytesPerSec,
      capacityBytesPerSec: this.#meter.capacityBytesPerSec,
    });
  }

  /** The one loop (mirror rules S7.2, S20 and S22). */
  async #copyUntilDone(job: JobControl): Promise<void> {
    for (;;) {
      if (this.#hasFailed) throw this.#failure;
      await job.pausePoint();
      if (job.isForceCancelled) return;
      this.#publish(job);
      this.#govern(job);
      if (this.#isClean()) this.guestWrites.noteClean();
      if (this.#backOff.isWaiting(job.clock.now())) {
        await this.#awaitRetry(job);
      } else if (this.#isClean() && !job.isReady) {
        if (!(await this.#flush())) continue;
        if (this.#init.fold?.record !== undefined) return;
        this.#becomeReady(job);
      } else if (this.#shouldFinish(job) && this.#isNearlyClean()) {
        if (await this.#finish(job)) return;
      } else if (!job.isReady && this.#isStalled()) {
        (await this.#holdClean(job))?.end();
      } else if (this.#isClean()) {
        if (isTraced("before_sleep"))
          trace("before_sleep", { job: this.#init.id, dirtyBytes: 0, synced: true });
        await job.sleep(SLICE_MS);
      } else {
        await this.#copySlice(job);
      }
    }
  }

  /** One slice of copying, then whatever it has to wait for. */
  async #copySlice(job: JobControl): Promise<void> {
    const nowMs = job.clock.now();
    const yields = !this.#shouldFinish(job) && this.#courtesy.yields(nowMs);
    const restMs = yields ? this.#courtesy.restMs(nowMs, this.#engine.sweeps > 0) : 0;
    if (restMs > 0) {
      await job.sleep(restMs);
      return;
    }
    const endMs = nowMs + SLICE_MS;
    const ended = this.#engine.operationsEnded;
    const result = await this.#copySome(
      job,
      () => this.#mayCopy(job) && job.limitDelayMs === 0 && job.clock.now() < endMs,
      yields ? COURTEOUS_OPERATIONS : undefined,
    );
    if (isTraced("yield")) {
      const inFlightOperations = this.#engine.inFlight.operations;
      trace("yield", { job: this.#init.id, inFlightOperations, dirtyBytes: this.#init.dirty.dirtyBytes });
    }
    if (job.limitDelayMs > 0) await job.sleepForLimit();
    else if (result === "held") await job.sleep(0);
    // An operation that ended while this looked elsewhere has kicked nobody; then there is room again already.
    else if (this.#engine.operationsEnded === ended) await job.sleep(SLICE_MS);
  }

  /** Waits for the time of the next retry, in slices so that a cancel is noticed. */
  async #awaitRetry(job: JobControl): Promise<void> {
    await job.sleep(Math.min(SLICE_MS, this.#backOff.remainingMs(job.clock.now())));
  }

  async #copySome(job: JobControl, mayGoOn: () => boolean, most?: number): ReturnType<CopyEngine["fill"]> {
    const result = await this.#engine.fill(mayGoOn, most);
    this.#meter.sample(job.clock.now());
    return result;
  }

  /** Nothing is submitted while the I/O status is not ok (mirror rule S18.1), or before the time of a retry. */
  #mayCopy(job: JobControl): boolean {
    return !job.shouldPause && this.#mayCopyHeld(job);
  }

  /** The same while the job itself drains its source, which pauses everybody and must not pause it. */
  #mayCopyHeld(job: JobControl): boolean {
    if (this.#hasFailed || job.isForceCancelled || job.ioStatus !== "ok") return false;
    return !this.#backOff.isWaiting(job.clock.now());
  }

  #becomeReady(job: JobControl): void {
    this.#publish(job);
    job.transitionToReady();
    this.#phase = "ready";
  }

  /** A soft cancel after READY finishes the copy as well; it only does not switch (mirror rule S26). */
  #shouldFinish(job: JobControl): boolean {
    return job.isReady && (job.isCompleteRequested || job.isCancelRequested);
  }

  #isClean(): boolean {
    return this.#init.dirty.bits.isEmpty && this.#engine.inFlight.operations === 0;
  }

  /** Little enough is left to copy it while guests are held. */
  #isNearlyClean(): boolean {
    const { capacityBytesPerSec } = this.#meter;
    const { switchPauseMs } = this.#init.tuning;
    const most =
      capacityBytesPerSec === undefined ? DEFAULT_SWITCH_BYTES : (capacityBytesPerSec * switchPauseMs) / 1000;
    return this.#init.dirty.dirtyBytes + this.#engine.inFlight.bytes <= most;
  }

  /**
   * A guest that never rests can keep the job from ever seeing a clean instant, however little is dirty at a time. When the
   * walk has come round twice with next to nothing left, guests are held for a moment to make that instant.
   */
  #isStalled(): boolean {
    if (!this.#isNearlyClean()) {
      this.#nearlyCleanSince = undefined;
      return false;
    }
    this.#nearlyCleanSince ??= this.#engine.sweeps;
    if (this.#engine.sweeps - this.#nearlyCleanSince < SWEEPS_BEFORE_HOLD) return false;
    this.#nearlyCleanSince = undefined;
    return true;
  }

  /** The last step of `run`; false when something still has to be copied or retried. */
  async #finish(job: JobControl): Promise<boolean> {
    await this.#engine.waitForAll();
    // What was copied so far becomes durable before the guests are held, so that little is left to flush then.
    if (!(await this.#flush()) || this.#hasFailed || job.shouldPause) return false;
    const section = await this.#holdClean(job);
    if (section === undefined) return false;
    if (!(await this.#flushHeld(job))) {
      section.end();
      return false;
    }
    if (job.finalizesAtOnce) this.#held = section;
    else section.end();
    return true;
  }

  /**
   * Holds the guests and copies what they had written until then. The section is returned only if target and source are
   * then equal (mirror rules S28.1 to S28.3); otherwise the guests go on and undefined is returned.
   */
  async #holdClean(job: JobControl): Promise<DrainedSection | undefined> {
    const { graph, source, dirty, id } = this.#init;
    if (isTraced("before_drain")) trace("before_drain", { job: id, dirtyBytes: dirty.dirtyBytes });
    const section = await job.whileDraining(() => graph.drain(source.node));
    let clean = false;
    try {
      // Guests must not wait for a retry, nor for a target that has become slow: the hold then ends without result.
      const endMs = job.clock.now() + this.#init.tuning.switchPauseMs * HOLD_PATIENCE;
      const mayGoOn = (): boolean => this.#mayCopyHeld(job) && job.clock.now() <= endMs;
      for (let ended = -1; ended !== this.#engine.operationsEnded;) {
        if (dirty.bits.isEmpty || !this.#isNearlyClean() || !mayGoOn()) break;
        ended = this.#engine.operationsEnded;
        await this.#engine.fill(mayGoOn);
        if (!(await endsInTime(job, this.#engine.waitForAll(), endMs))) break;
      }
      clean = this.#isClean() && !this.#hasFailed;
      return clean ? section : undefined;
    } finally {
      if (!clean) section.end();
    }
  }

  /** Flushes while guests are held; false as well when that takes too long: then they go on, and it is done again. */
  async #flushHeld(job: JobControl): Promise<boolean> {
    const flushed = this.#flush();
    const endMs = job.clock.now() + this.#init.tuning.switchPauseMs * HOLD_PATIENCE;
    if (await endsInTime(job, flushed, endMs)) return flushed;
    this.#unflushed = true;
    return false;
  }

  /** Flushes the target if something was written since the last time; false after an error that does not end the job. */
  async #flush(): Promise<boolean> {
    if (!this.#unflushed) return true;
    this.#unflushed = false;
    if (isTraced("before_flush")) trace("before_flush", { job: this.#init.id });
    try {
      const result = this.#init.target.flush();
      if (isPromise(result)) await result;
      return true;
    } catch (error) {
      this.#unflushed = true;
      this.#onError("write", error);
      return false;
    }
  }

  #onError(side: FailedSide, error: unknown): void {
    const { onSourceError, onTargetError } = this.#init.tuning;
    const policy = side === "read" ? onSourceError : onTargetError;
    const action = this.#control?.handleError(error, { operation: side, policy }) ?? "report";
    if (action === "report") {
      // The first error is the job's; later ones are its echo (mirror rule S17.2).
      if (!this.#hasFailed) this.#failure = error;
      this.#hasFailed = true;
      this.guestWrites.giveUp();
    } else if (action === "ignore") {
      this.#backOff.fail(this.#control?.clock.now() ?? 0);
    }
  }

  #publish(job: JobControl): void {
    const { done, left } = this.#meter.work();
    job.setProgress(done, done + left);
    this.#meter.sample(job.clock.now());
    if (this.#phase === "copy" && this.#engine.sweeps > 0) this.#phase = "converge";
  }
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
