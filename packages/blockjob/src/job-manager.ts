import { type Clock, type SharedRateLimit, systemClock } from "@blockmirror/ratelimit";
import { JobError } from "./errors.ts";
import { type JobEvent, type JobEventBody, type JobListener, toTimestamp } from "./events.ts";
import { Job, requireSpeedParameter } from "./job.ts";
import { JobCore } from "./job-core.ts";
import type { JobDriver } from "./job-driver.ts";
import { requireNewJobId } from "./job-id.ts";
import { JobTransaction } from "./transaction.ts";

/** Settings of a {@link JobManager}. */
export interface JobManagerOptions {
  /** The time of all jobs. Default: the machine's. */
  readonly clock?: Clock;
  /**
   * Wall clock of events and start times, milliseconds since the Unix epoch. Default: `Date.now`; with a `clock` of your
   * own that clock's `now`, so that tests are repeatable.
   */
  readonly epochNow?: () => number;
  /** A limit that all jobs share, besides their own. Default: none. */
  readonly sharedLimit?: SharedRateLimit;
}

/** Settings of a new job. */
export interface JobOptions {
  /** A letter, then letters, digits, `-`, `.` and `_`; unique in the manager. Required unless `internal`. */
  readonly id?: string;
  /** A job of the program's own: it gets a made-up id, sends no events and is in no list. Default false. */
  readonly internal?: boolean;
  /** Speed limit, bytes per second; 0 = unlimited. Default 0. */
  readonly speed?: number;
  /** A limit shared with other jobs; `null` = none, not even the manager's. Default: the manager's. */
  readonly sharedLimit?: SharedRateLimit | null;
  /** False: the job waits in PENDING until `finalize`. Default true. */
  readonly autoFinalize?: boolean;
  /** False: the job stays, concluded, until `dismiss`. Default true. */
  readonly autoDismiss?: boolean;
  /** Jobs that take effect together. Default: alone. */
  readonly transaction?: JobTransaction;
}

/** Creates jobs, holds them by id and tells what happens to them. */
export class JobManager implements AsyncDisposable {
  /** The time of all jobs. */
  readonly clock: Clock;
  readonly #epochNow: () => number;
  readonly #sharedLimit: SharedRateLimit | undefined;
  readonly #jobs = new Map<string, Job>();
  readonly #internalJobs = new Set<Job>();
  readonly #listeners = new Set<JobListener>();
  #internalCount = 0;

  constructor(options: JobManagerOptions = {}) {
    const clock = options.clock ?? systemClock;
    this.clock = clock;
    this.#epochNow = options.epochNow ?? (options.clock === undefined ? Date.now : () => clock.now());
    this.#sharedLimit = options.sharedLimit;
  }

  /**
   * Creates a job in status `created`; call its `start` when all is in place.
   *
   * @throws JobError `JOB_ID_REQUIRED`, `JOB_ID_INVALID`, `JOB_ID_IN_USE` or `JOB_INVALID_PARAMETER`; nothing was done then.
   * @throws TypeError when the transaction's jobs have ended.
   */
  create<Details = unknown>(driver: JobDriver<Details>, options: JobOptions = {}): Job<Details> {
    const internal = options.internal === true;
    const id = internal ? this.#internalId() : requireNewJobId(options.id, (taken) => this.#jobs.has(taken));
    const speed = options.speed ?? 0;
    requireSpeedParameter(speed);
    const sharedLimit = options.sharedLimit === undefined ? this.#sharedLimit : options.sharedLimit;
    const transaction = JobTransaction.coreOf(options.transaction ?? new JobTransaction());
    transaction.requireOpen(id);
    const forget = (): void => {
      if (internal) this.#internalJobs.delete(job);
      else this.#jobs.delete(id);
    };
    const core = new JobCore<Details>({
      id,
      driver,
      clock: this.clock,
      epochNow: this.#epochNow,
      speed,
      sharedLimit: sharedLimit ?? undefined,
      autoFinalize: options.autoFinalize ?? true,
      autoDismiss: options.autoDismiss ?? true,
      emit: internal ? () => {} : this.#emit,
      forget,
    });
    transaction.add(core);
    const job = new Job<Details>(core, transaction);
    if (internal) this.#internalJobs.add(job);
    else this.#jobs.set(id, job);
    core.transition("created");
    return job;
  }

  /** The job of that id. @throws JobError `JOB_NOT_FOUND`. */
  get(id: string): Job {
    const job = this.#jobs.get(id);
    if (job === undefined) throw new JobError("JOB_NOT_FOUND", `Job '${id}' not found`);
    return job;
  }

  /** The job of that id, or `undefined`. */
  find(id: string): Job | undefined {
    return this.#jobs.get(id);
  }

  /** All jobs, oldest first; internal ones are left out. */
  list(): readonly Job[] {
    return [...this.#jobs.values()];
  }

  /**
   * Calls `listener` with every event of every job, in order.
   *
   * @returns the function that ends the subscription.
   */
  subscribe(listener: JobListener): () => void {
    // A subscription of its own per call, even when the same function is given twice.
    const subscription: JobListener = (event) => {
      listener(event);
    };
    this.#listeners.add(subscription);
    return () => {
      this.#listeners.delete(subscription);
    };
  }

  /** Force-cancels every job that can still be cancelled, waits until all have ended, and dismisses them. */
  async close(): Promise<void> {
    const jobs = [...this.#jobs.values(), ...this.#internalJobs];
    for (const job of jobs) {
      // Asked anew for each: cancelling one ends the others of its transaction.
      if (job.can("cancel").allowed) job.cancel({ force: true });
    }
    await Promise.all(jobs.map((job) => job.done));
    for (const job of jobs) {
      if (job.can("dismiss").allowed) job.dismiss();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Not well-formed as a job id, so no user's id can ever be the same. */
  #internalId(): string {
    this.#internalCount += 1;
    return `#job${this.#internalCount}`;
  }

  readonly #emit = (body: JobEventBody): void => {
    const event: JobEvent = { ...body, timestamp: toTimestamp(this.#epochNow()) };
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        // A broken listener must not break a job half-way through a transition; it must not go unnoticed either.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  };
}
