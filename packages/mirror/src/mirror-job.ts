import { BlockError, type DrainedSection } from "@blockmirror/block-driver";
import type { ChangeOptions, JobControl, JobDriver } from "@blockmirror/blockjob";
import { BackOff } from "./back-off.ts";
import { Convergence } from "./convergence.ts";
import { CopyEngine, type FailedSide } from "./copy-engine.ts";
import { COURTEOUS_OPERATIONS } from "./courtesy.ts";
import { createDiskMap, drawDiskMap, type DiskMap } from "./disk-map.ts";
import { GuestHold } from "./guest-hold.ts";
import { GuestWrites } from "./guest-writes.ts";
import { hasBacking, scanSource } from "./initial-scan.ts";
import { COPY_MODES, type CopyMode } from "./options.ts";
import type { MirrorDetails } from "./mirror-details.ts";
import type { MirrorJobInit } from "./mirror-job-init.ts";
import { SwitchOver } from "./switch-over.ts";
import { ProgressMeter } from "./progress-meter.ts";
import type { MirrorPhase } from "./progress.ts";
import { TargetFlush } from "./target-flush.ts";
import { isTraced, trace } from "./tracing.ts";
import { ZeroMap } from "./zero-map.ts";

/** The loop reaches a pause point at least this often (mirror rule S20.1). */
const SLICE_MS = 100;
/** Bytes of one zero request behind the end of the source. */
const MAX_TAIL_ZERO = 1024 * 1024 * 1024;

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
  readonly #convergence: Convergence;
  readonly #hold: GuestHold;
  readonly #flush: TargetFlush;
  #control: JobControl | undefined;
  #phase: MirrorPhase = "scan";
  #failure: unknown;
  #hasFailed = false;
  #held: DrainedSection | undefined;

  /** @throws BlockError `EINVAL` when the buffer cannot be allocated. */
  constructor(init: MirrorJobInit) {
    const { source, target, dirty, granularity, tuning } = init;
    this.#init = init;
    this.type = init.fold === undefined ? "mirror" : "commit";
    this.#size = source.info.size;
    this.#zeroMap = new ZeroMap(this.#size, granularity);
    this.#flush = new TargetFlush(
      target,
      () => {
        if (isTraced("before_flush")) trace("before_flush", { job: init.id });
      },
      (error) => this.#onError("write", error),
    );
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
        this.#flush.noteWrite();
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
      onWrite: () => this.#flush.noteWrite(),
      onLeave: () => this.#control?.kick(),
    });
    this.#switchOver = new SwitchOver({
      graph: init.graph,
      filter: init.filter,
      source,
      target,
      size: this.#size,
      backing: init.backing,
      fold: init.fold,
      replaces: init.replaces,
    });
    const { switchPauseMs } = tuning;
    const { id, graph, guestRequests } = init;
    const meter = this.#meter;
    const engine = this.#engine;
    const convergence = new Convergence({ engine, dirty, meter, switchPauseMs, guestRequests });
    this.#convergence = convergence;
    this.#hold = new GuestHold({
      id,
      graph,
      source,
      dirty,
      engine,
      convergence,
      switchPauseMs,
      mayCopy: () => this.#control !== undefined && this.#mayCopyHeld(this.#control),
      hasFailed: () => this.#hasFailed,
      flush: () => this.#flush.run(),
    });
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
      if (this.#hasFailed || !this.#convergence.isNearlyClean() || !(await this.#flush.run())) continue;
      this.#held = await this.#hold.cleanAndFlushed(job);
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
    const { graph, filter, dirty, source, target, backing } = this.#init;
    dirty.busy = false;
    filter.removeDirtyBitmap(dirty);
    // A concluded job may stay to be looked at; its buffer need not.
    this.#engine.release();
    try {
      await graph.removeFilter(filter);
    } finally {
      this.#held?.end();
      this.#switchOver.letGo();
      await graph.detach(source);
      await graph.detach(target);
      await backing.settle();
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
      copyModeIsAutomatic: this.#convergence.choosesMode,
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
    if (tuning.targetIsZero && !hasBacking(target.node)) this.#zeroMap.learn(0, this.#size);
    await scanSource({
      job,
      source: source.node,
      target: target.node,
      sync: tuning.sync,
      base: this.#init.fold?.base,
      size: this.#size,
      dirty,
      zeroMap: this.#zeroMap,
    });
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
        this.#flush.noteWrite();
        await target.writeZeroes(at, length, { unmap: true });
        at += length;
      } catch (error) {
        this.#onError("write", error);
      }
      await job.sleep(0);
    }
  }

  #setCopyMode(mode: CopyMode): void {
    this.#convergence.setMode(mode);
    if (mode !== "auto") this.guestWrites.mode = mode;
  }

  /** The one loop (mirror rules S7.2, S20 and S22). */
  async #copyUntilDone(job: JobControl): Promise<void> {
    for (;;) {
      if (this.#hasFailed) throw this.#failure;
      await job.pausePoint();
      if (job.isForceCancelled) return;
      this.#publish(job);
      const mode = this.#convergence.govern(job.clock.now(), job.isReady);
      if (mode !== undefined) this.guestWrites.mode = mode;
      const isClean = this.#convergence.isClean();
      if (isClean) this.guestWrites.noteClean();
      if (this.#backOff.isWaiting(job.clock.now())) {
        await this.#awaitRetry(job);
      } else if (isClean && !job.isReady) {
        if (!(await this.#flush.run())) continue;
        if (this.#init.fold?.record !== undefined) return;
        this.#becomeReady(job);
      } else if (this.#shouldFinish(job) && this.#convergence.isNearlyClean()) {
        if (await this.#finish(job)) return;
      } else if (!job.isReady && this.#convergence.isStalled()) {
        (await this.#hold.clean(job))?.end();
      } else if (isClean) {
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
    const yields = !this.#shouldFinish(job) && this.#convergence.courtesy.yields(nowMs);
    const restMs = yields ? this.#convergence.courtesy.restMs(nowMs, this.#engine.sweeps > 0) : 0;
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

  /** The last step of `run`; false when something still has to be copied or retried. */
  async #finish(job: JobControl): Promise<boolean> {
    await this.#engine.waitForAll();
    // What was copied so far becomes durable before the guests are held, so that little is left to flush then.
    if (!(await this.#flush.run()) || this.#hasFailed || job.shouldPause) return false;
    const section = await this.#hold.cleanAndFlushed(job);
    if (section === undefined) return false;
    if (job.finalizesAtOnce) this.#held = section;
    else section.end();
    return true;
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
