import { type JobErrorCode, JobError, type RefusalCause, type VerbPermission } from "./errors.ts";
import type { JobCore } from "./job-core.ts";
import type { TransactionCore } from "./transaction-core.ts";
import { JOB_VERBS, type JobVerb, isVerbAllowed } from "./verbs.ts";

/** Whether the job accepts the verb now: the verb table and the conditions besides it. */
export function verbPermission(core: JobCore, transaction: TransactionCore, verb: JobVerb): VerbPermission {
  const { id, status } = core;
  const refuse = (cause: RefusalCause, code: JobErrorCode, message: string): VerbPermission => ({
    allowed: false,
    reason: { verb, status, cause, code, message, allowedIn: JOB_VERBS[verb] },
  });
  const wrongStatus = `Job '${id}' in state '${status}' cannot accept command verb '${verb}'`;

  // This one precedes the verb table, so that resuming a job that is over says the more useful thing.
  if (verb === "resume" && !core.pauseReasons.user) {
    return refuse("not-paused", "JOB_NOT_PAUSED", "Can't resume a job that was not paused");
  }
  if (!isVerbAllowed(verb, status)) return refuse("status", "JOB_VERB_REFUSED", wrongStatus);
  if (verb === "pause" && core.pauseReasons.user) {
    return refuse("already-paused", "JOB_ALREADY_PAUSED", "Job is already paused");
  }
  if (verb === "complete" && (core.cancelRequested || core.driver.complete === undefined)) {
    const cause = core.cancelRequested ? "cancel-requested" : "not-supported";
    return refuse(cause, "JOB_CANNOT_COMPLETE", `The active block job '${id}' cannot be completed`);
  }
  if (verb === "change" && core.driver.change === undefined) {
    return refuse("not-supported", "JOB_NOT_SUPPORTED", "Job type does not support change");
  }
  if (verb === "cancel" && transaction.isSwitching) {
    return refuse("switching", "JOB_VERB_REFUSED", `${wrongStatus}: it is taking effect already`);
  }
  return { allowed: true };
}

/** @throws JobError with the refusal as its reason when the job does not accept the verb. */
export function requireVerb(core: JobCore, transaction: TransactionCore, verb: JobVerb): void {
  const permission = verbPermission(core, transaction, verb);
  if (permission.allowed) return;
  throw new JobError(permission.reason.code, permission.reason.message, { reason: permission.reason });
}
