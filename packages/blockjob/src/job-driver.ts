import type { JobControl } from "./job-control.ts";

/** A value now or later. */
export type MaybePromise<Value> = Value | Promise<Value>;

/** Options of the `complete` verb. */
export interface CompleteOptions {
  /**
   * Also lift the user's pause, so that a paused job completes now. Without it a paused job stays paused and completes
   * after it is resumed. Default false.
   */
  readonly resume?: boolean;
}

/** Options of the `change` verb; their meaning is the job type's. */
export type ChangeOptions = Readonly<Record<string, unknown>>;

/**
 * What the author of a job type writes: one object per job. Only `type` and `run` are needed.
 *
 * Calls never overlap except where said. In the order of a life:
 *
 * `run` ( `pause` `resume` )* -> all jobs of the transaction are done -> `finalize` -> `prepare` -> `commit` -> `clean`
 *
 * and on failure or force-cancel, from wherever that happens, `abort` -> `clean`. `clean` is called exactly once for
 * every job that was not discarded, whether it started or not.
 *
 * Drained sections that begin in `finalize` or later wait until `clean` is over, so those of the driver itself have to say that
 * they are its own: see `DrainOptions.duringChange` of `Job.drainBegin`.
 *
 * @typeParam Details what `details` adds to snapshots.
 */
export interface JobDriver<Details = unknown> {
  /** Name of the job type, for example `mirror`. Part of events and snapshots. */
  readonly type: string;

  /**
   * The work. Returning means success, throwing means failure with that error. Must reach a pause point
   * ({@link JobControl.pausePoint} or a sleep) at least every 100 ms, and must return soon, with nothing in flight, once
   * {@link JobControl.isForceCancelled} is true; what it returns or throws then does not matter. Not called when the job
   * was force-cancelled before it began.
   */
  run(job: JobControl): Promise<void>;

  /**
   * The job is about to park at a pause point: wait until nothing is in flight. Called from the pause point, so `run` is
   * not executing meanwhile. Throwing makes the pause point throw.
   */
  pause?(): MaybePromise<void>;

  /** The job leaves a pause. Called before the pause point returns to `run`. */
  resume?(): MaybePromise<void>;

  /**
   * The user lifts a pause or an error stop: clear the I/O status of what the job works on. The engine clears the job's
   * own. Must not throw.
   */
  userResume?(): void;

  /**
   * `cancel` was asked for, of this job or of one it shares a transaction with. Called at any time, while `run` executes.
   * Must not throw.
   *
   * @param force whether the user asked for force.
   * @returns whether this cancel is a forced one. A driver whose `run` can finish early with a good result answers false
   *   to soft requests and watches {@link JobControl.isCancelRequested}; a force is never softened. A driver without
   *   this method is always cancelled by force.
   */
  cancel?(force: boolean): boolean;

  /**
   * `complete` was accepted: do what must be checked or opened first. Throwing refuses the verb with that error and
   * changes nothing. Called while `run` executes, never twice at a time, and no more after it succeeded once; after
   * that {@link JobControl.isCompleteRequested} is true. A driver without it cannot be completed.
   */
  complete?(options: CompleteOptions): MaybePromise<void>;

  /** The speed limit changed. The engine's limiter knows already. Must not throw. @param bytesPerSec 0 = unlimited. */
  setSpeed?(bytesPerSec: number): void;

  /** Change an option of the running job. Throwing refuses the verb with that error. */
  change?(options: ChangeOptions): MaybePromise<void>;

  /**
   * Everybody is done and the switch comes next: catch up with what happened since `run` returned. Called in status
   * `pending`, at once or, without auto-finalize, when the user says so - which may be hours later. So do not hold
   * guest I/O up at the end of `run` unless {@link JobControl.finalizesAtOnce}: hold it here, look again whether all is
   * copied, release it and copy the rest if not, and return with guest I/O held. May use everything of
   * {@link JobControl}; pause points park without a change of status. Jobs of a transaction do this at the same time.
   * Throwing fails the job and its transaction. I/O errors cannot stop the job any more, so the policy `stop` acts as
   * `report` here.
   */
  finalize?(job: JobControl): MaybePromise<void>;

  /**
   * Make the result take effect; the last step that can fail. Called one job after the other. Throwing aborts the whole
   * transaction, and `abort` is then called for jobs that prepared, too.
   */
  prepare?(): MaybePromise<void>;

  /** Everything succeeded: drop what was kept for an abort. Must not throw. */
  commit?(): MaybePromise<void>;

  /** The job failed or was force-cancelled: undo. Must not throw. Called in status `aborting`, with `run` over. */
  abort?(): MaybePromise<void>;

  /** Release everything, after `commit` or `abort`. Must not throw. */
  clean?(): MaybePromise<void>;

  /** Extra facts for snapshots. Cheap, and callable at any time, after the end too. Must not throw. */
  details?(): Details;
}
