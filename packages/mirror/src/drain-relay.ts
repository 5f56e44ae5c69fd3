import type { DrainNotice } from "@blockmirror/block-driver";
import type { Job, MaybePromise } from "@blockmirror/blockjob";

/**
 * Passes the drained sections of one of a job's nodes on to the job. Edges attach before the job exists; what happens until
 * then is told to the job when it comes.
 */
export class DrainRelay {
  #job: Pick<Job, "drainBegin" | "drainEnd"> | undefined;
  #sections = 0;

  /** Whether a section holds the node. */
  get isDrained(): boolean {
    return this.#sections > 0;
  }

  readonly begin = (section: DrainNotice): MaybePromise<void> => {
    this.#sections += 1;
    return this.#job?.drainBegin(section);
  };

  readonly end = (): void => {
    this.#sections -= 1;
    this.#job?.drainEnd();
  };

  /** From now on `job` is told; it has not started, so it is quiet. */
  bind(job: Pick<Job, "drainBegin" | "drainEnd">): void {
    this.#job = job;
    for (let told = 0; told < this.#sections; told += 1) void job.drainBegin();
  }
}
