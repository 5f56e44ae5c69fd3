import type { Job, MaybePromise } from "@blockmirror/blockjob";

/**
 * Passes the drained sections of a job's nodes on to the job. Edges attach before the job exists; what happens until then
 * is told to the job when it comes.
 */
export class DrainRelay {
  #job: Pick<Job, "drainBegin" | "drainEnd"> | undefined;
  #pending = 0;

  readonly begin = (): MaybePromise<void> => {
    if (this.#job !== undefined) return this.#job.drainBegin();
    this.#pending += 1;
    return undefined;
  };

  readonly end = (): void => {
    if (this.#job !== undefined) this.#job.drainEnd();
    else this.#pending -= 1;
  };

  /** From now on `job` is told; it has not started, so it is quiet. */
  bind(job: Pick<Job, "drainBegin" | "drainEnd">): void {
    this.#job = job;
    for (; this.#pending > 0; this.#pending -= 1) void job.drainBegin();
  }
}
