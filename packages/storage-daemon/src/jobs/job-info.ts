import type { JobSnapshot } from "@blockmirror/blockjob";
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
function errorOf(entry: JobEntry, { error }: JobSnapshot): { readonly error?: string } {
  if (error !== undefined) return { error: error.message };
  return entry.outcome === "cancelled" ? { error: "Operation canceled" } : {};
}

/** A job as `query-jobs` shows it. */
export function jobInfo(entry: JobEntry): BlockType<"JobInfo"> {
  const job = entry.job.snapshot();
  return {
    id: job.id,
    type: jobType(job.type),
    status: job.status,
    "current-progress": job.offset,
    "total-progress": job.length,
    ...errorOf(entry, job),
  };
}

/** A job as `query-block-jobs` shows it. */
export function blockJobInfo(entry: JobEntry): BlockType<"BlockJobInfo"> {
  // One snapshot: clients poll this for hundreds of jobs.
  const mirrored = entry.mirror?.job.snapshot();
  const job: JobSnapshot = mirrored ?? entry.job.snapshot();
  const activelySynced = mirrored?.details?.activelySynced;
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
    ...errorOf(entry, job),
    ...(activelySynced === undefined ? {} : { "actively-synced": activelySynced }),
  };
}
