import type { Clock } from "@blockmirror/ratelimit";
import type { ErrorAction, ErrorPolicy, IoOperation, IoStatus } from "./error-policy.ts";
import type { JobStatus } from "./states.ts";

/** Facts about a failed operation, see {@link JobControl.handleError}. */
export interface FailedOperation {
  readonly operation: IoOperation;
  /** The user's policy for that side. */
  readonly policy: ErrorPolicy;
}

/**
 * A job as its driver sees it: given to `run` and `finalize`. Only one sleep or pause point may be awaited at a time;
 * everything else may be called from anywhere, also from operations in the background.
 */
export interface JobControl {
  readonly id: string;
  readonly status: JobStatus;
  /** The job's time; use it instead of the machine's. */
  readonly clock: Clock;

  /** Somebody wants the job to pause: the user, an error stop or a drained section. */
  readonly shouldPause: boolean;
  /** A cancel was asked for, soft or forced. */
  readonly isCancelRequested: boolean;
  /** Give up now. */
  readonly isForceCancelled: boolean;
  /** Aborted when the job is force-cancelled; its reason is a `JobError` with code `JOB_CANCELLED`. */
  readonly forceCancelSignal: AbortSignal;
  /** `complete` was asked for and accepted. */
  readonly isCompleteRequested: boolean;
  /** Status is READY or STANDBY. */
  readonly isReady: boolean;
  /**
   * Finalization follows the end of `run` without waiting for anybody: the job finalizes by itself and is alone in its
   * transaction. Then, and only then, may `run` return with guest I/O held up.
   */
  readonly finalizesAtOnce: boolean;

  /**
   * Parks here while the job should pause; otherwise returns at once. Does nothing once force-cancelled. In order: the
   * driver's `pause`, a second look (the reason may have gone), status PAUSED or STANDBY, the wait, the status from
   * before, the driver's `resume`.
   */
  pausePoint(): Promise<void>;
  /**
   * Sleeps, then passes a pause point. Ends early by {@link kick}, pause, resume, cancel, complete and a raised speed.
   * Returns at once when force-cancelled. 0 lets others run.
   *
   * @param ms milliseconds, not negative.
   */
  sleep(ms: number): Promise<void>;
  /** Ends the sleep, if any. A pause goes on as long as it has a reason. */
  kick(): void;

  /** Speed limit, bytes per second; 0 = unlimited. */
  readonly speed: number;
  /** Charges bytes to the job's limit, and to the shared one if it has one. Answers the delay due, milliseconds. */
  charge(bytes: number): number;
  /** How long the limits want the job to wait now, milliseconds; 0 = go on. */
  readonly limitDelayMs: number;
  /**
   * Sleeps until the limits allow more, at least once (with zero length if need be), passing pause points. A pause
   * parks promptly and what is left of the sleep follows it. Ends early only when force-cancelled, or when `isOver`, which is
   * asked each time something wakes the job, says so: a limit may take long, and an error should not wait for it.
   */
  sleepForLimit(isOver?: () => boolean): Promise<void>;

  /** Progress so far, bytes. */
  readonly offset: number;
  /** Progress at the end as estimated now, bytes. */
  readonly length: number;
  /**
   * Publishes progress.
   *
   * @throws RangeError unless `0 <= offset <= length`, both whole.
   */
  setProgress(offset: number, length: number): void;

  /**
   * The bulk is done: READY, with its event. Only from status `running`, so call it once.
   *
   * @throws TypeError when the status is another.
   */
  transitionToReady(): void;

  /** Not `ok` after an error stop, until the user resumes. */
  readonly ioStatus: IoStatus;
  /**
   * Announces an I/O error and applies the user's policy. The event comes first. For `stop` the job is then paused as
   * the user pauses it, so that only the user lifts it, and the I/O status is set unless an earlier error did; go to
   * the next pause point. When the job cannot pause any more (it is finalizing or over), `stop` becomes `report`.
   *
   * @returns what the driver has to do: fail the job, go on, or pause and retry.
   */
  handleError(error: unknown, failed: FailedOperation): ErrorAction;

  /**
   * Runs `body`, in which the job itself drains nodes that it is a parent of. Meanwhile drained sections take this job
   * for quiet, instead of waiting for a pause point that it cannot reach. Nothing may be in flight, and no pause point
   * may be awaited until the drained section ends, because it holds this job as well. The section has to tell the job
   * before `body` returns its promise, and somebody else's may have begun meanwhile: see {@link isHeldByOthers}.
   */
  whileDraining<Value>(body: () => Promise<Value>): Promise<Value>;
  /**
   * After {@link whileDraining}, until the job's own section ends: somebody else's section, which took the job for quiet,
   * holds it too. Submit nothing then, end the own section, and go to a pause point. Only in `finalize` is it better to go
   * on: the section may be that of another job of the transaction, which waits for this one.
   */
  readonly isHeldByOthers: boolean;
}
