import { isParked } from "../../job-source/job-status.ts";
import { stalledMsOf } from "../../job-source/stall.ts";
import type { JobSnapshot } from "../../job-source/job-source.ts";
import { EwmaRate } from "./ewma.ts";
import { etaSecOf, type Progress, progressOf } from "./progress.ts";
import { stateWordOf, type StateWord } from "./state-word.ts";
import { Trend } from "./trend.ts";

/** A rate this close to the limit is the limit's doing. */
const THROTTLED_SHARE = 0.95;
/** A READY job that has copied nothing for so long copies nothing now, whatever the average still says. */
const IDLE_AFTER_MS = 1000;

/** A job as the screen shows it: the snapshot and all that is derived from it, immutable. */
export interface JobView {
  readonly snapshot: JobSnapshot;
  readonly word: StateWord;
  readonly concluded: boolean;
  /** Something asks for a person: I/O error, no space, failure. */
  readonly attention: boolean;
  /** The source has not heard of the job for too long. */
  readonly stale: boolean;
  /** See {@link stalledMsOf}. */
  readonly stalledMs: number | undefined;
  readonly progress: Progress;
  readonly rateBytesPerSec: number | undefined;
  readonly dirtyRateBytesPerSec: number | undefined;
  readonly etaSec: number | "never" | undefined;
  readonly throttled: boolean;
  readonly rateTrend: Trend;
  readonly dirtyTrend: Trend;
}

interface JobHistory {
  readonly copied: EwmaRate;
  /** Bytes copied at the last look, and when they last became more. */
  total: number;
  movedAtMs: number;
  readonly rateTrend: Trend;
  readonly dirtyTrend: Trend;
}

/** What one look at the source found. */
export interface JobsSample {
  readonly atMs: number;
  readonly jobs: readonly JobView[];
}

function derive(job: JobSnapshot, history: JobHistory, atMs: number, staleAfterMs: number): JobView {
  const progress = progressOf(job);
  const concluded = job.status === "concluded";
  const stale = !concluded && atMs - job.updatedAtMs > staleAfterMs;
  const parked = concluded || isParked(job.status);
  const idle = job.ready && atMs - history.movedAtMs >= IDLE_AFTER_MS;
  const stalledMs = stale ? undefined : stalledMsOf(job);
  const measured = idle || stalledMs !== undefined ? 0 : (job.copyRateBytesPerSec ?? history.copied.perSec);
  // A frozen number must not pass for a live one.
  const rateBytesPerSec = stale || concluded ? undefined : parked ? 0 : measured;
  const word = stateWordOf(job, stalledMs !== undefined);
  return {
    snapshot: job,
    word,
    concluded,
    attention: job.ioStatus !== "ok" || word === "FAILED" || word === "ABORTING" || stalledMs !== undefined,
    stale,
    stalledMs,
    progress,
    rateBytesPerSec,
    dirtyRateBytesPerSec: stale || concluded ? undefined : job.dirtyRateBytesPerSec,
    etaSec: stale || stalledMs !== undefined ? undefined : etaSecOf(job, progress, rateBytesPerSec),
    throttled: job.speed > 0 && (rateBytesPerSec ?? 0) >= job.speed * THROTTLED_SHARE,
    rateTrend: history.rateTrend,
    dirtyTrend: history.dirtyTrend,
  };
}

/** Turns snapshots into views and remembers what rates and trends need. */
export class JobsModel {
  readonly #histories = new Map<string, JobHistory>();

  /**
   * Looks at the jobs at one moment.
   * @param staleAfterMs - age at which a snapshot no longer counts as live.
   */
  sample(snapshots: readonly JobSnapshot[], atMs: number, staleAfterMs: number): JobsSample {
    const seen = new Set<string>();
    const jobs = snapshots.map((job) => {
      seen.add(job.id);
      const history = this.#historyOf(job.id);
      if (job.status !== "concluded") {
        const total = job.bytesCopied ?? job.offset;
        history.copied.sample(total, job.updatedAtMs);
        if (total !== history.total) history.movedAtMs = atMs;
        history.total = total;
      }
      const view = derive(job, history, atMs, staleAfterMs);
      if (!view.concluded) {
        history.rateTrend.record(view.rateBytesPerSec ?? 0, atMs);
        history.dirtyTrend.record(view.progress.remainingBytes, atMs);
      }
      return view;
    });
    for (const id of this.#histories.keys()) {
      if (!seen.has(id)) this.#histories.delete(id);
    }
    return { atMs, jobs };
  }

  #historyOf(id: string): JobHistory {
    let history = this.#histories.get(id);
    if (history === undefined) {
      history = {
        copied: new EwmaRate(),
        total: 0,
        movedAtMs: -Infinity,
        rateTrend: new Trend(),
        dirtyTrend: new Trend(),
      };
      this.#histories.set(id, history);
    }
    return history;
  }
}

/** A sample that later samples do not touch. */
export function freezeSample(sample: JobsSample): JobsSample {
  return {
    atMs: sample.atMs,
    jobs: sample.jobs.map((view) => ({
      ...view,
      rateTrend: view.rateTrend.copy(),
      dirtyTrend: view.dirtyTrend.copy(),
    })),
  };
}
