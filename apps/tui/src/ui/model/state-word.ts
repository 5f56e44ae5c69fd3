import type { JobSnapshot, JobStatus } from "../../job-source/job-source.ts";
import type { Tone } from "../theme.ts";

/** Width of the STATE column; no word is longer. */
export const STATE_WIDTH = 9;

/** The word an operator reads for a job's state. */
export type StateWord =
  | "CREATED"
  | "RUNNING"
  | "STALLED"
  | "PAUSED"
  | "READY"
  | "STANDBY"
  | "WAITING"
  | "PENDING"
  | "ABORTING"
  | "DONE"
  | "FAILED"
  | "CANCELLED";

const WORDS: Readonly<Record<Exclude<JobStatus, "concluded">, StateWord>> = {
  created: "CREATED",
  running: "RUNNING",
  paused: "PAUSED",
  ready: "READY",
  standby: "STANDBY",
  waiting: "WAITING",
  pending: "PENDING",
  aborting: "ABORTING",
};

/** Every word there is, in the order of a job's life. */
export const STATE_WORDS: readonly StateWord[] = [
  ...Object.values(WORDS),
  "STALLED",
  "DONE",
  "FAILED",
  "CANCELLED",
];

/**
 * `concluded` alone does not tell how it ended, nor `running` whether anything moves; the word does. What else a job may be
 * while a device hangs tells more than that it does.
 */
export function stateWordOf(job: JobSnapshot, isStalled: boolean): StateWord {
  if (job.status === "running" && isStalled) return "STALLED";
  if (job.status !== "concluded") return WORDS[job.status];
  if (job.cancelled === true) return "CANCELLED";
  return job.error === undefined ? "DONE" : "FAILED";
}

const TONES: Readonly<Record<StateWord, Tone>> = {
  CREATED: "dim",
  RUNNING: "running",
  STALLED: "failure",
  PAUSED: "warning",
  READY: "ready",
  STANDBY: "warning",
  WAITING: "ready",
  PENDING: "ready",
  ABORTING: "failure",
  DONE: "done",
  FAILED: "failure",
  CANCELLED: "dim",
};

/** The tone of a state word. Never the only carrier of the meaning. */
export function stateTone(word: StateWord): Tone {
  return TONES[word];
}
