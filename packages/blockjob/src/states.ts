/** Where a job stands in its life; names and meanings of the QEMU jobs documentation. */
export type JobStatus =
  /** Never visible. */
  | "undefined"
  /** Exists, not started. */
  | "created"
  | "running"
  /** Paused while running. */
  | "paused"
  /** The bulk is done; waits for `complete` or `cancel`, and keeps up meanwhile. */
  | "ready"
  /** Paused while ready. */
  | "standby"
  /** Work done; waits for the other jobs of its transaction. A job on its own passes through. */
  | "waiting"
  /** Waits for `finalize`, or is being finalized. */
  | "pending"
  /** Failed or force-cancelled; undoing. */
  | "aborting"
  /** All over; stays until dismissed when auto-dismiss is off. */
  | "concluded"
  /** Gone. */
  | "null";

/**
 * Every transition there is. What is not listed is a programming error. A paused job never aborts directly: it is
 * un-paused first. `ready` never goes back to `running`: falling behind after READY is not a change of state.
 */
export const JOB_TRANSITIONS: Readonly<Record<JobStatus, readonly JobStatus[]>> = {
  undefined: ["created"],
  created: ["running", "aborting", "null"],
  running: ["paused", "ready", "waiting", "aborting"],
  paused: ["running"],
  ready: ["standby", "waiting", "aborting"],
  standby: ["ready"],
  waiting: ["pending", "aborting"],
  pending: ["aborting", "concluded"],
  aborting: ["aborting", "concluded"],
  concluded: ["null"],
  null: [],
};

/** Every status, in the order of a life. */
export const JOB_STATUSES: readonly JobStatus[] = [
  "undefined",
  "created",
  "running",
  "paused",
  "ready",
  "standby",
  "waiting",
  "pending",
  "aborting",
  "concluded",
  "null",
];

/** Whether a job may go from one status to the other. */
export function canTransition(from: JobStatus, to: JobStatus): boolean {
  return JOB_TRANSITIONS[from].includes(to);
}

/** READY or STANDBY. */
export function isReadyStatus(status: JobStatus): boolean {
  return status === "ready" || status === "standby";
}

const COMPLETED: ReadonlySet<JobStatus> = new Set(["waiting", "pending", "aborting", "concluded", "null"]);

/** The work is over, for better or worse: WAITING and everything after it. */
export function isCompletedStatus(status: JobStatus): boolean {
  return COMPLETED.has(status);
}
