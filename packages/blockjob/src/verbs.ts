import type { JobStatus } from "./states.ts";

/** What can be asked of a job from outside; spelled as in the QEMU jobs documentation. */
export type JobVerb =
  | "cancel"
  | "pause"
  | "resume"
  | "set-speed"
  | "complete"
  | "finalize"
  | "dismiss"
  | "change";

const LIVE: readonly JobStatus[] = ["created", "running", "paused", "ready", "standby"];

/** For each verb, the statuses in which it is accepted. None is accepted in `undefined` and `null`. */
export const JOB_VERBS: Readonly<Record<JobVerb, readonly JobStatus[]>> = {
  cancel: [...LIVE, "waiting", "pending"],
  pause: LIVE,
  resume: LIVE,
  "set-speed": LIVE,
  complete: ["ready", "standby"],
  finalize: ["pending"],
  dismiss: ["concluded"],
  change: LIVE,
};

/** Whether the verb table accepts `verb` in `status`. A job may have further conditions, see `Job.can`. */
export function isVerbAllowed(verb: JobVerb, status: JobStatus): boolean {
  return JOB_VERBS[verb].includes(status);
}
