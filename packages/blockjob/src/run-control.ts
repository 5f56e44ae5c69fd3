import type { Clock } from "@blockmirror/ratelimit";
import { type ErrorAction, type IoStatus, decideAction, isNoSpace } from "./error-policy.ts";
import type { FailedOperation, JobControl } from "./job-control.ts";
import type { JobCore } from "./job-core.ts";
import { type JobStatus, isReadyStatus } from "./states.ts";
import { isVerbAllowed } from "./verbs.ts";

/** The driver's view of a job. */
export class RunControl implements JobControl {
  readonly #core: JobCore;
  readonly #finalizesAtOnce: () => boolean;
  /** How often the job's own drained section has told it. */
  #ownDrains = 0;

  constructor(core: JobCore, finalizesAtOnce: () => boolean) {
    this.#core = core;
    this.#finalizesAtOnce = finalizesAtOnce;
  }

  get id(): string {
    return this.#core.id;
  }

  get status(): JobStatus {
    return this.#core.status;
  }

  get clock(): Clock {
    return this.#core.clock;
  }

  get shouldPause(): boolean {
    return this.#core.shouldPause;
  }

  get isCancelRequested(): boolean {
    return this.#core.cancelRequested;
  }

  get isForceCancelled(): boolean {
    return this.#core.forceCancelled;
  }

  get forceCancelSignal(): AbortSignal {
    return this.#core.forceCancelSignal;
  }

  get isCompleteRequested(): boolean {
    return this.#core.completeRequested;
  }

  get isReady(): boolean {
    return isReadyStatus(this.#core.status);
  }

  get finalizesAtOnce(): boolean {
    return this.#finalizesAtOnce();
  }

  get speed(): number {
    return this.#core.limit.speed;
  }

  get limitDelayMs(): number {
    return this.#core.chargeLimits(0);
  }

  get offset(): number {
    return this.#core.progress.offset;
  }

  get length(): number {
    return this.#core.progress.length;
  }

  get ioStatus(): IoStatus {
    return this.#core.ioStatus;
  }

  async pausePoint(): Promise<void> {
    if (!this.#mustPark) return;
    await this.#core.driver.pause?.();
    // The reason may have gone while the driver waited for its I/O, and a force-cancel wins over any pause.
    if (this.#mustPark) await this.#park();
    await this.#core.driver.resume?.();
  }

  async sleep(ms: number): Promise<void> {
    if (!Number.isFinite(ms) || ms < 0) {
      throw new RangeError(`a job sleeps for a finite, non-negative number of milliseconds, not ${ms}`);
    }
    if (this.#core.forceCancelled) return;
    if (!this.#core.shouldPause) await this.#core.wakeup.sleep(ms);
    await this.pausePoint();
  }

  kick(): void {
    this.#core.kick();
  }

  charge(bytes: number): number {
    return this.#core.chargeLimits(bytes);
  }

  async sleepForLimit(isOver: () => boolean = () => false): Promise<void> {
    // The job's own limit kicks by the set-speed rules; a shared one changes behind the job's back.
    const unsubscribe = this.#core.sharedLimit?.onChange(() => {
      this.#core.kick();
    });
    try {
      do {
        await this.sleep(this.limitDelayMs);
      } while (!this.isForceCancelled && this.limitDelayMs > 0 && !isOver());
    } finally {
      unsubscribe?.();
    }
  }

  setProgress(offset: number, length: number): void {
    this.#core.progress.set(offset, length);
  }

  transitionToReady(): void {
    this.#core.transition("ready");
    this.#core.emit({ event: "BLOCK_JOB_READY", data: this.#core.blockJobEventData() });
  }

  handleError(error: unknown, failed: FailedOperation): ErrorAction {
    const core = this.#core;
    const decided = decideAction(failed.policy, error);
    const canStop = isVerbAllowed("pause", core.status) && !core.runFinished && !core.forceCancelled;
    const action = decided === "stop" && !canStop ? "report" : decided;
    core.errorCounts[failed.operation] += 1;
    core.emit({ event: "BLOCK_JOB_ERROR", data: { device: core.id, operation: failed.operation, action } });
    if (action === "stop") {
      core.pauseReasons.user = true;
      if (core.ioStatus === "ok") core.ioStatus = isNoSpace(error) ? "nospace" : "failed";
      core.kick();
    }
    return action;
  }

  async whileDraining<Value>(body: () => Promise<Value>): Promise<Value> {
    const { quiescence, pauseReasons } = this.#core;
    const before = pauseReasons.drains;
    quiescence.beginOwnDrain();
    try {
      const drained = body();
      this.#ownDrains = pauseReasons.drains - before;
      return await drained;
    } finally {
      quiescence.endOwnDrain();
    }
  }

  get isHeldByOthers(): boolean {
    return this.#core.pauseReasons.drains > this.#ownDrains;
  }

  get #mustPark(): boolean {
    return this.#core.shouldPause && !this.#core.forceCancelled;
  }

  async #park(): Promise<void> {
    const { quiescence, wakeup, status: before } = this.#core;
    // While finalizing there is no status for a pause, but a drained section still has to find the job parked.
    if (before === "running") this.#core.transition("paused");
    else if (before === "ready") this.#core.transition("standby");
    quiescence.setParked(true);
    while (this.#mustPark) await wakeup.sleep(undefined);
    quiescence.setParked(false);
    if (this.#core.status !== before) this.#core.transition(before);
  }
}
