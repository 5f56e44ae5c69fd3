import { allIsCopied } from "../../job-source/all-is-copied.ts";
import type { JobSnapshot } from "../../job-source/job-source.ts";

/** How far a job is, as shares (0..1) of its length. `done + inFlight + dirty` is 1 unless the length is unknown. */
export interface Progress {
  /** False while the job does not know its length yet: neither 0 % nor 100 % would be true. */
  readonly known: boolean;
  /** All is copied, see {@link allIsCopied}. Only then may it show 100 %. */
  readonly finished: boolean;
  readonly done: number;
  readonly inFlight: number;
  readonly dirty: number;
  /** Bytes left to copy; in READY, how far the target lags. */
  readonly remainingBytes: number;
}

function clampShare(value: number): number {
  return Number.isFinite(value) ? Math.min(1, Math.max(0, value)) : 0;
}

/** Derives what the progress bar shows. Total for every snapshot: never NaN, never outside 0..1. */
export function progressOf(job: JobSnapshot): Progress {
  const ended = job.status === "concluded";
  const finished = allIsCopied(job);
  const known = job.length > 0 || finished;
  const remainingBytes = Math.max(0, job.dirtyBytes ?? job.length - job.offset);
  if (!known) return { known, finished, done: 0, inFlight: 0, dirty: 0, remainingBytes };
  if (ended && finished) return { known, finished, done: 1, inFlight: 0, dirty: 0, remainingBytes };
  const remaining = job.length > 0 ? clampShare((job.length - job.offset) / job.length) : 0;
  const left = Math.max(remaining, job.length > 0 ? clampShare(remainingBytes / job.length) : 0);
  const inFlight = Math.min(
    left,
    job.length > 0 && !ended ? clampShare((job.inFlightBytes ?? 0) / job.length) : 0,
  );
  return { known, finished, done: 1 - left, inFlight, dirty: left - inFlight, remainingBytes };
}

// Below this the difference between two noisy rates says nothing.
const SMALLEST_CLOSING_RATE = 1;

/**
 * Seconds until a job converges: `never` when the disk gets dirty as fast as it is copied, `undefined` when nothing
 * can be said. A source that knows better is believed.
 */
export function etaSecOf(
  job: JobSnapshot,
  progress: Progress,
  rateBytesPerSec: number | undefined,
): number | "never" | undefined {
  if (progress.finished || job.status !== "running" || job.ioStatus !== "ok") return undefined;
  if (job.etaSec !== undefined) return job.etaSec;
  if (!progress.known || rateBytesPerSec === undefined) return undefined;
  if (progress.remainingBytes === 0) return 0;
  const closing = rateBytesPerSec - (job.dirtyRateBytesPerSec ?? 0);
  if (rateBytesPerSec < SMALLEST_CLOSING_RATE) return undefined;
  return closing < SMALLEST_CLOSING_RATE ? "never" : progress.remainingBytes / closing;
}
