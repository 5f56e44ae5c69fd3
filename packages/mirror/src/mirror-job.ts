import { NO_CLAIM, type BlockGraph, type DrainedSection } from "@blockmirror/block-driver";
import type { ChangeOptions, JobControl, JobDriver } from "@blockmirror/blockjob";
import type { Convergence } from "./convergence.ts";
import type { CopyEngine } from "./copy-engine.ts";
import type { FillLimits, FillResult } from "./copy-engine-init.ts";
import { COURTEOUS_OPERATIONS } from "./courtesy.ts";
import { createDiskMap, drawDiskMap, type DiskMap } from "./disk-map.ts";
import { everyStep } from "./every-step.ts";
import type { Failures } from "./failures.ts";
import type { GuestHold } from "./guest-hold.ts";
import type { GuestWrites } from "./guest-writes.ts";
import { HangGuard, hangs, reportLate } from "./hang-guard.ts";
import { hasBacking, scanSource } from "./initial-scan.ts";
import { copyFromOthers, rest } from "./late-copies.ts";
import type { MirrorDetails } from "./mirror-details.ts";
import type { MirrorJobInit } from "./mirror-job-init.ts";
import { MirrorParts } from "./mirror-parts.ts";
import { copyModeOf, type CopyMode } from "./options.ts";
import type { ProgressMeter } from "./progress-meter.ts";
import type { MirrorPhase } from "./progress.ts";
import { SwitchOver } from "./switch-over.ts";
import type { TargetFlush } from "./target-flush.ts";
import { isTraced, trace } from "./tracing.ts";
import { zeroTail } from "./zero-tail.ts";

/** The loop reaches a pause point at least this often (mirror rule S20.1). */
const SLICE_MS = 100;

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
  readonly #parts: MirrorParts;
  readonly #engine: CopyEngine;
  readonly #meter: ProgressMeter;
  readonly #failures: Failures;
  readonly #guard = new HangGuard();
  readonly #switchOver: SwitchOver;
  readonly #convergence: Convergence;
  readonly #hold: GuestHold;
  readonly #flush: TargetFlush;
  #phase: MirrorPhase = "scan";
  #held: DrainedSection | undefined;
  #isOnSource = true;

  /** @throws BlockError `EINVAL` when the buffer cannot be allocated. */
  constructor(init: MirrorJobInit) {
    const parts = new MirrorParts(init);
    this.type = init.fold === undefined ? "mirror" : "commit";
    this.guestWrites = parts.guestWrites;
    this.#init = init;
    this.#parts = parts;
    this.#engine = parts.engine;
    this.#meter = parts.meter;
    this.#failures = parts.failures;
    this.#convergence = parts.convergence;
    this.#hold = parts.hold;
    this.#flush = parts.flush;
    this.#switchOver = new SwitchOver({
      ...init,
      graph: init.graph.changing(),
      size: parts.size,
      catchUp: () => this.#copyFromOthers(),
      isCaughtUp: () => this.#convergence.isClean(),
    });
    this.#setCopyMode(init.tuning.copyMode);
  }

  async run(job: JobControl): Promise<void> {
    this.#parts.control = job;
    job.forceCancelSignal.addEventListener("abort", () => this.guestWrites.giveUp(), { once: true });
    await this.#guard.wait(job, this.#work(job));
  }

  async pause(): Promise<void> {
    await this.#engine.waitForAll();
    this.#convergence.deadline.pause(this.#parts.nowMs);
  }

  resume(): void {
    this.#meter.restart(this.#parts.nowMs);
    this.#convergence.deadline.resume(this.#parts.nowMs);
  }

  /** Before READY there is nothing worth finishing, so every cancel is a forced one (mirror rules S25.1 and S26.1). */
  cancel(force: boolean): boolean {
    return force || this.#parts.control?.isReady !== true;
  }

  /**
   * The change verb: `{ copyMode }`. It takes effect for requests that begin from now on.
   * @throws BlockError `EINVAL` for another option or an unknown mode.
   */
  change(options: ChangeOptions): void {
    this.#setCopyMode(copyModeOf(options));
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
    if (this.#init.fold?.record === undefined) await this.#guard.wait(job, this.#catchUp(job));
  }

  async prepare(): Promise<void> {
    const requested = this.#parts.control?.isCompleteRequested === true;
    if (requested || this.#init.fold?.record !== undefined) this.#phase = "switch";
    await this.#copyFromOthers();
    await this.#switchOver.run(requested);
  }

  async #copyFromOthers(): Promise<void> {
    await copyFromOthers(this.#parts, this.#init.target.node);
  }

  async abort(): Promise<void> {
    if (!this.#guard.hasAbandoned) await this.#switchOver.undo();
  }

  /**
   * On every exit path: filter, bitmap, claims and the hold on the guests go (mirror rule S32.3).
   * @throws BlockError `ETIMEDOUT` when a device hangs after a forced cancel; what that may still change stays claimed, and the
   * rest of this follows when it has answered.
   */
  async clean(): Promise<void> {
    const { filter, dirty, source, target } = this.#init;
    dirty.busy = false;
    filter.removeDirtyBitmap(dirty);
    this.#failures.close();
    const leaving = this.#leave();
    if (await this.#guard.endsInTime(leaving)) return;
    reportLate(target.node, leaving);
    if (this.#isOnSource) throw hangs(source.node, `'${filter.name}' stays above it`);
    throw hangs(target.node, "nobody else can write to it");
  }

  async #leave(): Promise<void> {
    const { filter, source, target, backing, fold } = this.#init;
    const graph = this.#init.graph.changing();
    const wasAbandoned = this.#guard.hasAbandoned;
    await everyStep([
      () => this.#guard.removeFilter(graph, filter, source.node),
      () => this.#held?.end(),
      () => this.#switchOver.letGo(),
      // The source is free although the target hangs.
      () => (wasAbandoned ? this.#leaveSource(graph) : undefined),
      () => this.#guard.ended(),
      // A concluded job may stay to be looked at; its buffer need not.
      () => this.#engine.release(),
      () => (wasAbandoned ? this.#switchOver.undo() : undefined),
      // Whoever drains a node is told by the job's edge when all of it is over; so these claim nothing any more, and go last.
      () => graph.reclaim(target, NO_CLAIM),
      () => backing.settle(),
      () => fold?.clean(this.switched),
      () => this.#leaveSource(graph),
      () => graph.detach(target),
    ]);
  }

  async #leaveSource(graph: BlockGraph): Promise<void> {
    if (!this.#isOnSource) return;
    this.#isOnSource = false;
    await Promise.all([graph.detach(this.#init.source), this.#init.fold?.left(this.switched)]);
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
      size: this.#parts.size,
      ...this.#meter.report(this.#phase),
    };
  }

  /** The state of the disk in `cellCount` cells. `into` is reused when it fits. */
  map(cellCount: number, into?: DiskMap): DiskMap {
    const map = into?.cellCount === cellCount ? into : createDiskMap(cellCount);
    return drawDiskMap(map, this.#parts.size, this.#init.dirty, this.#engine);
  }

  /** Whether the guests were switched to the target. */
  get switched(): boolean {
    return this.#switchOver.done;
  }

  async #work(job: JobControl): Promise<void> {
    try {
      await this.#scan(job);
      await this.#copyUntilDone(job);
    } finally {
      // Operations use the buffer and the bitmaps, so none may outlive the run (mirror rule S32.1).
      await this.#engine.waitForAll();
      await this.guestWrites.settled();
      await this.#flush.settled();
    }
  }

  async #catchUp(job: JobControl): Promise<void> {
    while (this.#held === undefined) {
      this.#failures.check();
      if (job.isForceCancelled) return;
      if (this.#failures.delayRetry(job)) {
        await rest(job);
        continue;
      }
      const ended = this.#engine.operationsEnded;
      await this.#copySome(job, () => !this.#failures.any && !job.isForceCancelled);
      await this.#engine.waitForAll();
      // All that is dirty may be in the hands of guests.
      if (!this.#init.dirty.bits.isEmpty && this.#engine.operationsEnded === ended) await rest(job);
      if (this.#failures.any || !this.#convergence.isNearlyClean() || !(await this.#flush.run())) continue;
      this.#held = await this.#hold.cleanAndFlushed(job);
    }
  }

  async #scan(job: JobControl): Promise<void> {
    const { source, target, dirty, tuning } = this.#init;
    // Nothing is done, and all of it may have to be: 0 of 0 would look finished.
    job.setProgress(0, this.#parts.size);
    if (tuning.targetIsZero && !hasBacking(target.node)) this.#parts.zeroMap.learn(0, this.#parts.size);
    await scanSource({
      job,
      source: source.node,
      target: target.node,
      sync: tuning.sync,
      base: this.#init.fold?.base,
      size: this.#parts.size,
      dirty,
      zeroMap: this.#parts.zeroMap,
      silence: this.#parts.silence,
    });
    this.guestWrites.scanned();
    this.#meter.scanned(tuning.sync === "none" ? 0 : Math.max(0, this.#parts.size - dirty.dirtyBytes));
    if (tuning.largerTarget === "zero") {
      this.#phase = "zero";
      const onWrite = (): void => this.#flush.noteWrite();
      const { size, silence } = this.#parts;
      await zeroTail(job, { target, from: size, failures: this.#failures, silence, onWrite });
    }
    this.#convergence.deadline.begin(job.clock.now(), dirty.dirtyBytes);
    this.#phase = "copy";
  }

  #setCopyMode(mode: CopyMode): void {
    this.#convergence.setMode(mode);
    if (mode !== "auto") this.guestWrites.mode = mode;
  }

  /** The one loop (mirror rules S7.2, S20 and S22). */
  async #copyUntilDone(job: JobControl): Promise<void> {
    for (;;) {
      this.#failures.check();
      await job.pausePoint();
      if (job.isForceCancelled) return;
      this.#publish(job);
      const mode = this.#convergence.govern(job.clock.now(), job.isReady, this.#shouldFinish(job));
      if (mode !== undefined) this.guestWrites.mode = mode;
      const isClean = this.#convergence.isClean();
      if (isClean) this.guestWrites.noteClean();
      if (this.#failures.delayRetry(job)) {
        await this.#failures.awaitRetry(job);
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
    const restMs = this.#shouldFinish(job) ? undefined : this.#convergence.restMs(nowMs);
    if (restMs !== undefined && restMs > 0) {
      await job.sleep(restMs);
      return;
    }
    const endMs = nowMs + SLICE_MS;
    const ended = this.#engine.operationsEnded;
    const result = await this.#copySome(
      job,
      () => this.#parts.mayCopy(job) && job.limitDelayMs === 0 && job.clock.now() < endMs,
      restMs === undefined ? { inLargeSteps: job.speed === 0 } : { operations: COURTEOUS_OPERATIONS },
    );
    if (isTraced("yield")) {
      const inFlightOperations = this.#engine.inFlight.operations;
      trace("yield", { job: this.#init.id, inFlightOperations, dirtyBytes: this.#init.dirty.dirtyBytes });
    }
    if (job.limitDelayMs > 0) await job.sleepForLimit(() => this.#failures.any);
    else if (result === "held") await job.sleep(0);
    // An operation that ended while this looked elsewhere has kicked nobody; then there is room again already.
    else if (this.#engine.operationsEnded === ended) await job.sleep(SLICE_MS);
  }

  async #copySome(job: JobControl, mayGoOn: () => boolean, limits?: FillLimits): Promise<FillResult> {
    const result = await this.#engine.fill(mayGoOn, limits);
    this.#meter.sample(job.clock.now());
    return result;
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
    if (!(await this.#flush.run()) || this.#failures.any || job.shouldPause) return false;
    const section = await this.#hold.cleanAndFlushed(job);
    if (section === undefined) return false;
    if (job.finalizesAtOnce) this.#held = section;
    else section.end();
    return true;
  }

  #publish(job: JobControl): void {
    const { done, left } = this.#meter.work();
    job.setProgress(done, done + left);
    this.#meter.sample(job.clock.now());
    if (this.#phase === "copy" && this.#engine.sweeps > 0) this.#phase = "converge";
  }
}
