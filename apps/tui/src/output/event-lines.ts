import { JobsModel, type JobView } from "../ui/model/job-view.ts";
import type { JobSnapshot, JobSource, JobSourceEvent } from "../job-source/job-source.ts";

/** Where lines go; the whole of what an output needs of a stream. */
export interface LineSink {
  write(text: string): unknown;
  /** What was written has not been taken yet: whoever reads has stopped. */
  readonly writableNeedDrain?: boolean;
}

/** A way to tell about jobs without a terminal UI. */
export interface JobReporter {
  /** Ends the reporting. */
  stop(): void;
}

/** How a reporter words what it tells; undefined means nothing. */
export interface Wording {
  /** Every event is told, also those that say nothing new to a person. */
  readonly isComplete: boolean;
  event(
    event: Exclude<JobSourceEvent, { readonly event: "changed" }>,
    job: JobSnapshot | undefined,
  ): string | undefined;
  progress(job: JobSnapshot, nowMs: number): string | undefined;
}

/**
 * Tells a line per event, and one per live job and interval. Lines are whole and flushed as they come, so a pipe can
 * follow.
 */
export function reportJobs(
  source: Pick<JobSource, "list" | "subscribe">,
  sink: LineSink,
  wording: Wording,
  intervalMs: number,
): JobReporter {
  const model = new JobsModel();
  const errors = new FatalErrors();
  const say = (line: string | undefined): void => {
    if (line !== undefined) sink.write(`${line}\n`);
  };
  const unsubscribe = source.subscribe((event) => {
    if (event.event === "changed" || (errors.isEcho(event) && !wording.isComplete)) return;
    const id = "id" in event.data ? event.data.id : event.data.device;
    say(
      wording.event(
        event,
        source.list().find((job) => job.id === id),
      ),
    );
  });
  const timer = setInterval(() => {
    // The job goes on without its reader; only what happens is kept for him, since progress grows old.
    if (sink.writableNeedDrain === true) return;
    const nowMs = Date.now();
    for (const view of model.sample(source.list(), nowMs, Infinity).jobs) {
      if (!view.concluded) say(wording.progress(withDerived(view), nowMs));
    }
  }, intervalMs);
  return {
    stop: () => {
      clearInterval(timer);
      unsubscribe();
    },
  };
}

/** The errors that end jobs. Every operation that was under way beside the one that failed first fails as well. */
class FatalErrors {
  readonly #told = new Set<string>();

  /** Whether the end of the job has been told already. */
  isEcho({ event, data }: Exclude<JobSourceEvent, { readonly event: "changed" }>): boolean {
    // The next job may have the same name.
    if (event === "JOB_STATUS_CHANGE" && data.status === "created") this.#told.delete(data.id);
    if (event !== "BLOCK_JOB_ERROR" || data.action !== "report") return false;
    if (this.#told.has(data.device)) return true;
    this.#told.add(data.device);
    return false;
  }
}

/** A job with the rate and the time left that were measured here, where its source does not tell them: QEMU does not. */
function withDerived({ snapshot, rateBytesPerSec, etaSec }: JobView): JobSnapshot {
  return {
    ...snapshot,
    copyRateBytesPerSec: snapshot.copyRateBytesPerSec ?? rateBytesPerSec,
    etaSec: snapshot.etaSec ?? etaSec,
  };
}
