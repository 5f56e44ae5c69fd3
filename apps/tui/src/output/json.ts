import { isParked } from "../job-source/job-status.ts";
import type { JobSnapshot } from "../job-source/job-source.ts";
import type { Wording } from "./event-lines.ts";

/**
 * One JSON object per line in the shape of QMP events, and `PROGRESS` events with everything known about a job. Scripts
 * depend on it: fields are added, never renamed.
 */
export const jsonWording: Wording = {
  isComplete: true,
  event: ({ event, data, timestamp }, job) =>
    JSON.stringify({ event, data: { ...data, ...whatIsLeft(event, data, job) }, timestamp }),
  progress: (job, nowMs) =>
    JSON.stringify({ event: "PROGRESS", data: progressData(job), timestamp: timestampOf(nowMs) }),
};

/** With the end of a job: why something that it held could not be given back. */
function whatIsLeft(
  event: string,
  data: object,
  job: JobSnapshot | undefined,
): { readonly "cleanup-error"?: string } {
  const hasEnded = event === "JOB_STATUS_CHANGE" && "status" in data && data.status === "concluded";
  return hasEnded && job?.cleanupError !== undefined ? { "cleanup-error": job.cleanupError } : {};
}

/** The payload of `PROGRESS`: bytes and bytes per second, names as QMP spells them. */
function progressData(job: JobSnapshot): Readonly<Record<string, unknown>> {
  return {
    id: job.id,
    type: job.type,
    status: job.status,
    offset: job.offset,
    len: job.length,
    speed: job.speed,
    "io-status": job.ioStatus,
    paused: job.paused,
    busy: job.busy,
    ready: job.ready,
    "actively-synced": job.activelySynced,
    phase: job.phase,
    "bytes-copied": job.bytesCopied,
    "bytes-skipped": job.bytesSkipped,
    "bytes-recopied": job.bytesRecopied,
    "dirty-bytes": job.dirtyBytes,
    "in-flight-bytes": job.inFlightBytes,
    "copy-rate": isParked(job.status) ? 0 : rounded(job.copyRateBytesPerSec),
    "dirty-rate": rounded(job.dirtyRateBytesPerSec),
    eta: etaOf(job),
    "unanswered-ms": rounded(job.unansweredMs),
    errors: job.errorCount,
    "elapsed-ms": Math.round(job.elapsedMs),
  };
}

/** Wall-clock milliseconds in QMP's shape. */
function timestampOf(ms: number): { readonly seconds: number; readonly microseconds: number } {
  const seconds = Math.floor(ms / 1000);
  return { seconds, microseconds: Math.round((ms - seconds * 1000) * 1000) };
}

function etaOf({ status, etaSec }: JobSnapshot): number | "never" | undefined {
  if (isParked(status)) return undefined;
  return typeof etaSec === "number" ? Math.round(etaSec * 10) / 10 : etaSec;
}

function rounded(value: number | undefined): number | undefined {
  return value === undefined ? undefined : Math.round(value);
}
