import type { BlockType } from "@blockmirror/qmp";
import type { JobEntry } from "./block-jobs.ts";

/** The job types that QMP has a word for. */
const JOB_TYPES: readonly BlockType<"JobType">[] = [
  "commit",
  "stream",
  "mirror",
  "backup",
  "create",
  "amend",
];

function jobType(type: string): BlockType<"JobType"> {
  return JOB_TYPES.find((known) => known === type) ?? "backup";
}

/** Why the job did not succeed; a job that was cancelled by force says so once it is over. */
function errorOf(entry: JobEntry): { readonly error?: string } {
  const { error } = entry.job.snapshot();
  if (error !== undefined) return { error: error.message };
  return entry.outcome === "cancelled" ? { error: "Operation canceled" } : {};
}

/** A job as `query-jobs` shows it. */
export function jobInfo(entry: JobEntry): BlockType<"JobInfo"> {
  const { id, type, status, offset, length } = entry.job.snapshot();
  return {
    id,
    type: jobType(type),
    status,
    "current-progress": offset,
    "total-progress": length,
    ...errorOf(entry),
  };
}

/** A job as `query-block-jobs` shows it. */
export function blockJobInfo(entry: JobEntry): BlockType<"BlockJobInfo"> {
  const job = entry.job.snapshot();
  const details = entry.mirror?.job.snapshot().details;
  return {
    type: jobType(job.type),
    device: job.id,
    len: job.length,
    offset: job.offset,
    busy: job.busy,
    paused: job.paused,
    speed: job.speed,
    "io-status": job.ioStatus,
    ready: job.ready,
    status: job.status,
    "auto-finalize": job.autoFinalize,
    "auto-dismiss": job.autoDismiss,
    ...errorOf(entry),
    ...(details === undefined ? {} : { "actively-synced": details.activelySynced }),
  };
}
