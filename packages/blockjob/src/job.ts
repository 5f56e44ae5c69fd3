import { JobError, type VerbPermission } from "./errors.ts";
import type { JobCore } from "./job-core.ts";
import type { ChangeOptions, CompleteOptions, MaybePromise } from "./job-driver.ts";
import { requireVerb, verbPermission } from "./permission.ts";
import type { JobResult, JobSnapshot } from "./snapshot.ts";
import type { JobStatus } from "./states.ts";
import type { TransactionCore } from "./transaction-core.ts";
import type { JobVerb } from "./verbs.ts";

/** Options of the `cancel` verb. */
export interface CancelOptions {
  /** Give up now. Default false: the job's type may finish early with a good result instead. */
  readonly force?: boolean;
}

/** What a job is told of a drained section. */
export interface DrainOptions {
  /**
   * The section belongs to a job that is itself taking effect or being undone, this one or another, or to anybody else who is
   * in the middle of a change: it does not wait for the end of this job, only until the driver submits nothing. Default false.
   */
  readonly duringChange?: boolean;
}

/**
 * A job as its users see it: what it is, and the verbs. Made by `JobManager.create`.
 *
 * Verbs are accepted or refused at once, with a {@link JobError} whose `reason` says why; what an accepted verb brings
 * is told by events and by {@link Job.done}. `complete` and `change` ask the driver first, hence their promises.
 */
export class Job<Details = unknown> {
  readonly id: string;
  readonly type: string;
  /**
   * The end: resolves when the job concluded, however that came about. Never rejects. A job that is never started and
   * never cancelled does not end.
   */
  readonly done: Promise<JobResult>;
  readonly #core: JobCore<Details>;
  readonly #transaction: TransactionCore;
  #completing: Promise<void> | undefined;

  /** @internal Use `JobManager.create`. */
  constructor(core: JobCore<Details>, transaction: TransactionCore) {
    this.id = core.id;
    this.type = core.driver.type;
    this.done = core.done;
    this.#core = core;
    this.#transaction = transaction;
  }

  get status(): JobStatus {
    return this.#core.status;
  }

  /** Speed limit, bytes per second; 0 = unlimited. */
  get speed(): number {
    return this.#core.limit.speed;
  }

  /** Everything known about the job now. */
  snapshot(): JobSnapshot<Details> {
    return this.#core.snapshot();
  }

  /**
   * Starts the job. Its driver's `run` has executed up to its first wait when this returns, unless the job was paused
   * before.
   *
   * @throws JobError `JOB_NOT_STARTABLE` unless the status is `created`.
   */
  start(): void {
    this.#requireCreated("started");
    this.#transaction.start(this.#core);
  }

  /**
   * Takes back a job that was created and not started, as if it had never been: no hook of its driver is called and no
   * end is told. For creators whose later steps fail.
   *
   * @throws JobError `JOB_NOT_STARTABLE` unless the status is `created`.
   */
  discard(): void {
    this.#requireCreated("discarded");
    this.#core.discard();
    this.#transaction.remove(this.#core);
  }

  /** Whether a verb would be accepted now, and if not, why. */
  can(verb: JobVerb): VerbPermission {
    return verbPermission(this.#core, this.#transaction, verb);
  }

  /** Pauses the job at its next pause point. @throws JobError when refused. */
  pause(): void {
    this.#require("pause");
    this.#core.pauseReasons.user = true;
    this.#core.kick();
  }

  /** Lifts the user's pause or an error stop, and resets the I/O status. @throws JobError when refused. */
  resume(): void {
    this.#require("resume");
    this.#core.liftUserPause();
    this.#core.pauseReasonEnded();
  }

  /**
   * Sets the speed limit; it applies at once, to a sleeping job too.
   *
   * @param bytesPerSec 0 = unlimited.
   * @throws JobError when refused, or `JOB_INVALID_PARAMETER` when negative or not finite.
   */
  setSpeed(bytesPerSec: number): void {
    const core = this.#core;
    this.#require("set-speed");
    requireSpeedParameter(bytesPerSec);
    const before = core.limit.speed;
    core.limit.setSpeed(bytesPerSec);
    core.driver.setSpeed?.(bytesPerSec);
    // A slower job goes on sleeping: it was not to wake earlier than before in any case.
    const isFaster = bytesPerSec === 0 || bytesPerSec > before;
    if (isFaster) core.kick();
  }

  /**
   * Asks a READY job to finish with its full effect. Repeating it is harmless.
   *
   * @throws JobError (rejection) when refused; or what the driver refuses it with. The job goes on as before then.
   */
  async complete(options: CompleteOptions = {}): Promise<void> {
    const core = this.#core;
    this.#require("complete");
    if (!core.completeRequested) {
      await this.#askDriverToComplete(options);
      // The job may have been cancelled, or failed, while the driver was busy.
      this.#require("complete");
      core.completeRequested = true;
    }
    if (options.resume === true && core.pauseReasons.user) this.resume();
    core.kick();
  }

  /**
   * Ends the job early. See {@link CancelOptions.force} for how. A paused job is resumed by it.
   *
   * @throws JobError when refused.
   */
  cancel(options: CancelOptions = {}): void {
    const core = this.#core;
    this.#require("cancel");
    const isForced = core.requestCancel(options.force === true);
    // A running driver notices by itself, and tells by returning.
    if (isForced && (!core.started || core.runFinished)) this.#transaction.abort(core);
  }

  /** Lets a PENDING job, and its transaction, take effect. Repeating it is harmless. @throws JobError when refused. */
  finalize(): void {
    this.#require("finalize");
    this.#transaction.finalize();
  }

  /** Forgets a CONCLUDED job. @throws JobError when refused. */
  dismiss(): void {
    this.#require("dismiss");
    this.#core.dismiss();
  }

  /**
   * Changes options of the job; which, is the job type's matter.
   *
   * @throws JobError (rejection) when refused; or what the driver refuses it with.
   */
  async change(options: ChangeOptions): Promise<void> {
    this.#require("change");
    await this.#core.driver.change?.(options);
  }

  /**
   * Begins to hold the job, for a drained section of a node it works on. Sections nest. It then shows as paused, though
   * not by the user.
   *
   * @returns nothing, or a promise that resolves, when the job is quiet: nothing in flight, and nothing submitted or changed
   *   until {@link drainEnd}. A job that is taking effect, or being undone, is quiet when that is over. A forced cancel is the
   *   exception: it ends a job that is held, too.
   */
  drainBegin({ duringChange = false }: DrainOptions = {}): MaybePromise<void> {
    const { pauseReasons, quiescence } = this.#core;
    pauseReasons.drains += 1;
    if (quiescence.isQuiet(duringChange)) return undefined;
    const quiet = quiescence.waitUntilQuiet(duringChange);
    this.#core.kick();
    return quiet;
  }

  /** Ends what {@link drainBegin} began. @throws TypeError when nothing was begun. */
  drainEnd(): void {
    const { pauseReasons, quiescence } = this.#core;
    if (pauseReasons.drains === 0) {
      throw new TypeError(`job '${this.id}' is not drained: drainEnd without drainBegin`);
    }
    pauseReasons.drains -= 1;
    if (pauseReasons.drains === 0) quiescence.release();
    this.#core.pauseReasonEnded();
  }

  #require(verb: JobVerb): void {
    requireVerb(this.#core, this.#transaction, verb);
  }

  #requireCreated(step: string): void {
    if (this.status !== "created") {
      throw new JobError(
        "JOB_NOT_STARTABLE",
        `Job '${this.id}' in state '${this.status}' cannot be ${step}: only a created job can`,
      );
    }
  }

  /** One question at a time: whoever asks meanwhile shares the answer. */
  async #askDriverToComplete(options: CompleteOptions): Promise<void> {
    const asking = this.#completing ?? Promise.resolve(this.#core.driver.complete?.(options));
    this.#completing = asking;
    try {
      await asking;
    } finally {
      if (this.#completing === asking) this.#completing = undefined;
    }
  }
}

/** @throws JobError `JOB_INVALID_PARAMETER` unless it is a speed. */
export function requireSpeedParameter(bytesPerSec: number): void {
  if (!Number.isFinite(bytesPerSec) || bytesPerSec < 0) {
    throw new JobError("JOB_INVALID_PARAMETER", "Parameter 'speed' expects a non-negative value");
  }
}
