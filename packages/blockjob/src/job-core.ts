import { type Clock, RateLimit, type RateLimitMember, type SharedRateLimit } from "@blockmirror/ratelimit";
import type { IoOperation, IoStatus } from "./error-policy.ts";
import { JobError, describeError, toError } from "./errors.ts";
import type { BlockJobEventData, JobEventBody } from "./events.ts";
import type { JobDriver } from "./job-driver.ts";
import { PauseReasons } from "./pause-reasons.ts";
import { Progress } from "./progress.ts";
import { Quiescence } from "./quiescence.ts";
import type { JobOutcome, JobResult, JobSnapshot } from "./snapshot.ts";
import { type JobStatus, canTransition, isReadyStatus } from "./states.ts";
import { Stopwatch } from "./stopwatch.ts";
import { Wakeup } from "./wakeup.ts";

/** What a job is made of. */
export interface JobCoreInit<Details> {
  readonly id: string;
  readonly driver: JobDriver<Details>;
  readonly clock: Clock;
  readonly epochNow: () => number;
  readonly speed: number;
  readonly sharedLimit: SharedRateLimit | undefined;
  readonly autoFinalize: boolean;
  readonly autoDismiss: boolean;
  /** Silent for internal jobs. */
  readonly emit: (event: JobEventBody) => void;
  /** Takes the job out of the manager's list. */
  readonly forget: () => void;
}

/**
 * The state of one job and the primitive steps on it, shared inside this package by the verbs (`Job`), the driver's view
 * (`RunControl`) and the transaction. Nothing here decides what is allowed, except that transitions obey the table.
 */
export class JobCore<Details = unknown> {
  readonly id: string;
  readonly driver: JobDriver<Details>;
  readonly clock: Clock;
  readonly autoFinalize: boolean;
  readonly autoDismiss: boolean;
  readonly emit: (event: JobEventBody) => void;

  readonly pauseReasons: PauseReasons = new PauseReasons();
  readonly progress: Progress = new Progress();
  readonly wakeup: Wakeup;
  readonly quiescence: Quiescence = new Quiescence();
  readonly limit: RateLimit;
  readonly sharedLimit: RateLimitMember | undefined;
  readonly errorCounts: Record<IoOperation, number> = { read: 0, write: 0 };
  readonly done: Promise<JobResult>;

  ioStatus: IoStatus = "ok";
  /** `start` was called. */
  started = false;
  /** `run` is over, or never will be. */
  runFinished = false;
  cancelRequested = false;
  forceCancelled = false;
  completeRequested = false;

  readonly #epochNow: () => number;
  readonly #forget: () => void;
  readonly #stopwatch: Stopwatch;
  readonly #forceCancel = new AbortController();
  #resolveDone: (result: JobResult) => void = () => {};
  #status: JobStatus = "undefined";
  #failure: Error | undefined;
  #cleanupError: Error | undefined;
  #startedAtMs: number | undefined;

  constructor(init: JobCoreInit<Details>) {
    this.id = init.id;
    this.driver = init.driver;
    this.clock = init.clock;
    this.autoFinalize = init.autoFinalize;
    this.autoDismiss = init.autoDismiss;
    this.emit = init.emit;
    this.wakeup = new Wakeup(init.clock);
    this.limit = new RateLimit({ speed: init.speed, clock: init.clock });
    this.sharedLimit = init.sharedLimit?.join();
    this.done = new Promise<JobResult>((resolve) => {
      this.#resolveDone = resolve;
    });
    this.#epochNow = init.epochNow;
    this.#forget = init.forget;
    this.#stopwatch = new Stopwatch(init.clock);
  }

  get status(): JobStatus {
    return this.#status;
  }

  get shouldPause(): boolean {
    return this.pauseReasons.count > 0;
  }

  get forceCancelSignal(): AbortSignal {
    return this.#forceCancel.signal;
  }

  get failure(): Error | undefined {
    return this.#failure;
  }

  get outcome(): JobOutcome {
    if (this.#failure !== undefined) return "failed";
    return this.forceCancelled ? "cancelled" : "completed";
  }

  /**
   * Goes to another status and tells so. Staying in `aborting` is allowed and silent.
   *
   * @throws TypeError when the transition table does not have it.
   */
  transition(to: JobStatus): void {
    const from = this.#status;
    if (!canTransition(from, to)) {
      throw new TypeError(`job '${this.id}' cannot go from '${from}' to '${to}'`);
    }
    if (to === from) return;
    this.#status = to;
    if (to === "paused" || to === "standby") this.#stopwatch.pause();
    else this.#stopwatch.resume();
    if (to === "concluded") this.#stopwatch.stop();
    this.emit({ event: "JOB_STATUS_CHANGE", data: { id: this.id, status: to } });
  }

  /** Marks the start; lifts the pause that a job is created with. */
  markStarted(): void {
    this.started = true;
    this.pauseReasons.notStarted = false;
    this.#startedAtMs = this.#epochNow();
    this.#stopwatch.start();
  }

  /** Remembers why the job failed; the first reason stays, and a force-cancelled job does not fail. */
  fail(thrown: unknown): void {
    if (!this.forceCancelled) this.#failure ??= toError(thrown);
  }

  /** Wakes a sleeping job; a parked one looks whether it still has to pause. */
  kick(): void {
    this.wakeup.kick();
  }

  /**
   * A pause reason ended. Cuts no rate-limit sleep short: whoever asked for the pause woke the job from any, and what was
   * left of it follows the pause.
   */
  pauseReasonEnded(): void {
    if (!this.shouldPause) this.kick();
  }

  /** Ends the user's pause or the error stop, and the I/O status with it. */
  liftUserPause(): void {
    this.driver.userResume?.();
    this.ioStatus = "ok";
    this.pauseReasons.user = false;
  }

  /**
   * Records a cancel request; a soft one comes too late once `run` is over. Answers whether the request is a forced one:
   * the driver may say so, and a job that never started or a driver without a say knows no other.
   */
  requestCancel(force: boolean): boolean {
    const driverForces = this.driver.cancel?.(force) ?? true;
    const forced = force || driverForces || !this.started;
    if (this.pauseReasons.user) this.liftUserPause();
    if (!forced && this.runFinished) return false;
    this.cancelRequested = true;
    if (forced && !this.forceCancelled) {
      this.forceCancelled = true;
      this.#forceCancel.abort(new JobError("JOB_CANCELLED", `job '${this.id}' was cancelled`));
    }
    this.kick();
    return forced;
  }

  chargeLimits(bytes: number): number {
    return Math.max(this.limit.account(bytes), this.sharedLimit?.account(bytes) ?? 0);
  }

  blockJobEventData(): BlockJobEventData {
    return {
      type: this.driver.type,
      device: this.id,
      len: this.progress.length,
      offset: this.progress.offset,
      speed: this.limit.speed,
    };
  }

  /** The last step of a life: commit or abort, clean, tell, conclude. */
  async settle(): Promise<void> {
    if (this.outcome === "completed") await this.#commit();
    else await this.#cleanUp(() => this.driver.abort?.());
    await this.#cleanUp(() => this.driver.clean?.());
    this.sharedLimit?.leave();
    this.quiescence.setEnding(false);
    if (this.started) this.#tellEnd();
    this.transition("concluded");
    const { outcome } = this;
    this.#resolveDone({
      outcome,
      ...(this.#failure === undefined ? {} : { error: this.#failure }),
      ...(this.#cleanupError === undefined ? {} : { cleanupError: this.#cleanupError }),
    });
    if (this.autoDismiss || !this.started) this.dismiss();
  }

  /** CONCLUDED to NULL. The id is free again before anybody hears of it. */
  dismiss(): void {
    this.#forget();
    this.transition("null");
  }

  /** CREATED to NULL: the creator gave up before the job was anything. */
  discard(): void {
    this.runFinished = true;
    this.sharedLimit?.leave();
    this.dismiss();
    this.#resolveDone({ outcome: "cancelled" });
  }

  snapshot(): JobSnapshot<Details> {
    const status = this.#status;
    const error = this.#failure;
    const startedAtMs = this.#startedAtMs;
    const details = this.driver.details?.();
    return {
      id: this.id,
      type: this.driver.type,
      status,
      speed: this.limit.speed,
      offset: this.progress.offset,
      length: this.progress.length,
      ioStatus: this.ioStatus,
      ...(status === "concluded" || status === "null" ? { outcome: this.outcome } : {}),
      ...(error === undefined ? {} : { error: describeError(error) }),
      ...(this.#cleanupError === undefined ? {} : { cleanupError: describeError(this.#cleanupError) }),
      paused: this.shouldPause,
      userPaused: this.pauseReasons.user,
      busy: this.quiescence.driverActive && !this.wakeup.isAsleep,
      ready: isReadyStatus(status),
      cancelRequested: this.cancelRequested,
      completeRequested: this.completeRequested,
      autoFinalize: this.autoFinalize,
      autoDismiss: this.autoDismiss,
      errorCounts: { ...this.errorCounts },
      ...(startedAtMs === undefined ? {} : { startedAtMs }),
      elapsedMs: this.#stopwatch.elapsedMs,
      pausedMs: this.#stopwatch.pausedMs,
      ...(details === undefined ? {} : { details }),
    };
  }

  async #commit(): Promise<void> {
    try {
      await this.driver.commit?.();
    } catch (error) {
      // It must not throw, and its effect cannot be undone; but calling this success would be a lie.
      this.fail(error);
      this.transition("aborting");
    }
  }

  async #cleanUp(step: () => void | Promise<void> | undefined): Promise<void> {
    try {
      await step();
    } catch (error) {
      this.#cleanupError ??= toError(error);
    }
  }

  #tellEnd(): void {
    const data = this.blockJobEventData();
    if (this.outcome === "cancelled") this.emit({ event: "BLOCK_JOB_CANCELLED", data });
    else if (this.#failure === undefined) this.emit({ event: "BLOCK_JOB_COMPLETED", data });
    else this.emit({ event: "BLOCK_JOB_COMPLETED", data: { ...data, error: this.#failure.message } });
  }
}
