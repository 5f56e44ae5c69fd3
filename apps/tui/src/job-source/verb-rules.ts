import type { JobSnapshot, JobStatus, JobVerb, VerbPermission } from "./job-source.ts";

const BEFORE_THE_END: readonly JobStatus[] = ["created", "running", "paused", "ready", "standby"];

// The verb table of the QEMU jobs documentation.
const ACCEPTED: Readonly<Record<JobVerb, readonly JobStatus[]>> = {
  pause: BEFORE_THE_END,
  resume: BEFORE_THE_END,
  "set-speed": BEFORE_THE_END,
  complete: ["ready", "standby"],
  cancel: [...BEFORE_THE_END, "waiting", "pending"],
  finalize: ["pending"],
  dismiss: ["concluded"],
};

const NEEDS: Readonly<Record<JobVerb, string>> = {
  pause: "pause needs a live job",
  resume: "resume needs a paused job",
  "set-speed": "limit needs a live job",
  complete: "complete needs READY",
  cancel: "cancel needs a live job",
  finalize: "finalize needs PENDING",
  dismiss: "dismiss needs a concluded job",
};

/**
 * The answer of the verb table, with the conditions that come on top of it. A source without rules of its own (a QMP
 * endpoint answers only when asked) uses this for {@link JobSource.can}.
 */
export function verbPermission(job: JobSnapshot | undefined, verb: JobVerb): VerbPermission {
  if (job === undefined) return { allowed: false, reason: "no such job" };
  // The table accepts `resume` in every live state, but refuses a job that the user did not pause before looking.
  if (verb === "resume" && !job.userPaused) return { allowed: false, reason: "job is not paused" };
  if (!ACCEPTED[verb].includes(job.status)) return { allowed: false, reason: NEEDS[verb] };
  if (verb === "pause" && job.userPaused) return { allowed: false, reason: "job is already paused" };
  return { allowed: true };
}
