import type { JobEvent, JobSnapshot } from "../../job-source/job-source.ts";

/** Actions on a job; `force-cancel` is the verb `cancel` with force. */
export type JobAction =
  | "pause"
  | "resume"
  | "set-speed"
  | "complete"
  | "cancel"
  | "force-cancel"
  | "finalize"
  | "dismiss";

/** A verb that was sent and whose effect has not been seen yet. */
export interface PendingVerb {
  readonly action: JobAction;
  /** Shown in the STATE column; ends with a tilde. */
  readonly label: string;
  readonly sinceMs: number;
  /** Requested limit of `set-speed`. */
  readonly speed?: number | undefined;
}

const LABELS: Readonly<Record<JobAction, string>> = {
  pause: "pausing~",
  resume: "resuming~",
  "set-speed": "limit~",
  complete: "complete~",
  cancel: "cancel~",
  "force-cancel": "force~",
  finalize: "finalize~",
  dismiss: "dismiss~",
};

/** Makes the record of a verb just sent. */
export function pendingVerb(action: JobAction, sinceMs: number, speed?: number): PendingVerb {
  return { action, label: LABELS[action], sinceMs, speed };
}

/**
 * Whether what a verb asked for has come true, by the job's own account; `undefined` is a job that is gone.
 * Accepting a verb confirms nothing.
 */
export function isConfirmed(pending: PendingVerb, job: JobSnapshot | undefined): boolean {
  if (job === undefined) return true;
  const ending = job.status === "aborting" || job.status === "concluded";
  switch (pending.action) {
    case "pause":
      return ending || job.status === "paused" || job.status === "standby";
    case "resume":
      return ending || (!job.userPaused && job.status !== "paused" && job.status !== "standby");
    case "set-speed":
      return ending || job.speed === pending.speed;
    case "complete":
      return ending || job.status === "waiting" || job.status === "pending";
    case "cancel":
      return ending || job.status === "waiting" || job.status === "pending";
    case "force-cancel":
      return ending;
    case "finalize":
      return job.status === "concluded" || job.status === "aborting";
    case "dismiss":
      return false;
  }
}

/** The same by what the job's endpoint told of it after the verb was sent. */
export function isConfirmedBy({ action }: PendingVerb, event: JobEvent): boolean {
  // What was resumed runs when it fails again.
  if (event.event === "BLOCK_JOB_ERROR") return action === "resume" && event.data.action === "stop";
  if (event.event !== "JOB_STATUS_CHANGE") return false;
  const { status } = event.data;
  return action === "resume" && (status === "running" || status === "ready");
}
