/**
 * Block jobs: long-running work on disks with states, verbs, events, pausing, error policies, speed limits and
 * transactions, as the QEMU jobs documentation describes them. Write a {@link JobDriver}, give it to a
 * {@link JobManager}.
 *
 * @packageDocumentation
 */
export {
  type ErrorAction,
  type ErrorPolicy,
  type IoOperation,
  type IoStatus,
  decideAction,
  isNoSpace,
} from "./error-policy.ts";
export {
  JobError,
  type JobErrorCode,
  type RefusalCause,
  type VerbPermission,
  type VerbRefusal,
} from "./errors.ts";
export type {
  BlockJobEventData,
  EventTimestamp,
  JobEvent,
  JobEventData,
  JobEventBody,
  JobEventName,
  JobListener,
} from "./events.ts";
export { type CancelOptions, type DrainOptions, Job } from "./job.ts";
export type { FailedOperation, JobControl } from "./job-control.ts";
export type { ChangeOptions, CompleteOptions, JobDriver, MaybePromise } from "./job-driver.ts";
export { isWellFormedJobId } from "./job-id.ts";
export { JobManager, type JobManagerOptions, type JobOptions } from "./job-manager.ts";
export type { JobOutcome, JobResult, JobSnapshot } from "./snapshot.ts";
export {
  JOB_STATUSES,
  JOB_TRANSITIONS,
  type JobStatus,
  canTransition,
  isCompletedStatus,
  isReadyStatus,
} from "./states.ts";
export { JobTransaction } from "./transaction.ts";
export { JOB_VERBS, type JobVerb, isVerbAllowed } from "./verbs.ts";
