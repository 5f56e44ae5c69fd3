import { JOB_STATUSES } from "@blockmirror/blockjob";
import type { JobStatus } from "./job-source.ts";

const KNOWN: ReadonlySet<string> = new Set(JOB_STATUSES);

/** Whether a word is a state of a job, or one of the two that are never shown: before it exists and after it is gone. */
export function isToldStatus(word: string): word is JobStatus | "undefined" | "null" {
  return KNOWN.has(word);
}

/** Whether a word is a state in which a job is shown. */
export function isJobStatus(word: string): word is JobStatus {
  return isToldStatus(word) && word !== "undefined" && word !== "null";
}

const PARKED: ReadonlySet<JobStatus> = new Set<JobStatus>([
  "created",
  "paused",
  "standby",
  "waiting",
  "pending",
]);

/** Whether nothing is copied in a state: rates and forecasts of before must not be told as if it were. */
export function isParked(status: JobStatus): boolean {
  return PARKED.has(status);
}
