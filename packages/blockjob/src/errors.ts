import type { JobStatus } from "./states.ts";
import type { JobVerb } from "./verbs.ts";

/**
 * The stable codes of {@link JobError}.
 *
 * | code | cause | remedy |
 * |---|---|---|
 * | `JOB_VERB_REFUSED` | the job's status does not accept the verb | see `reason.allowedIn` for the statuses that do |
 * | `JOB_ALREADY_PAUSED` | `pause` of a job the user paused before, or that stopped on an error | none, or `resume` |
 * | `JOB_NOT_PAUSED` | `resume` of a job that nobody paused | none |
 * | `JOB_CANNOT_COMPLETE` | `complete` of a job that is being cancelled or whose type has no completion | wait for the end, or `cancel` |
 * | `JOB_NOT_SUPPORTED` | the job's type lacks what the verb needs | none |
 * | `JOB_INVALID_PARAMETER` | a value outside its range | correct the value that the message names |
 * | `JOB_NOT_FOUND` | no job of that id | look at the list of jobs |
 * | `JOB_ID_REQUIRED`, `JOB_ID_INVALID`, `JOB_ID_IN_USE` | the id of a new job is missing, malformed or taken | choose another id |
 * | `JOB_NOT_STARTABLE` | `start` of a job that was started, cancelled or discarded before | create another job |
 * | `JOB_CANCELLED` | the reason of an aborted `forceCancelSignal` | none |
 * | `JOB_FAILED` | the job failed with something that is not an `Error` | see `cause` |
 */
export type JobErrorCode =
  | "JOB_VERB_REFUSED"
  | "JOB_ALREADY_PAUSED"
  | "JOB_NOT_PAUSED"
  | "JOB_CANNOT_COMPLETE"
  | "JOB_NOT_SUPPORTED"
  | "JOB_INVALID_PARAMETER"
  | "JOB_NOT_FOUND"
  | "JOB_ID_REQUIRED"
  | "JOB_ID_INVALID"
  | "JOB_ID_IN_USE"
  | "JOB_NOT_STARTABLE"
  | "JOB_CANCELLED"
  | "JOB_FAILED";

/** Why a job does not accept a verb now. */
export type RefusalCause =
  /** The verb table: wrong status. */
  | "status"
  | "already-paused"
  | "not-paused"
  /** `complete` after `cancel`. */
  | "cancel-requested"
  /** The job's type has no such ability. */
  | "not-supported"
  /** `cancel` after users began to be switched; there is no way back from there. */
  | "switching";

/** A refused verb in machine-readable form. */
export interface VerbRefusal {
  readonly verb: JobVerb;
  /** The job's status when it refused. */
  readonly status: JobStatus;
  readonly cause: RefusalCause;
  /** The code that the error of the refused verb carries. */
  readonly code: JobErrorCode;
  /** The text that the error of the refused verb carries. */
  readonly message: string;
  /** The statuses in which the verb table accepts the verb. */
  readonly allowedIn: readonly JobStatus[];
}

/** Whether a verb would be accepted now, and if not, why. */
export type VerbPermission =
  | { readonly allowed: true }
  | { readonly allowed: false; readonly reason: VerbRefusal };

/** What the engine refuses or reports. Match on `code`; the message is for people. */
export class JobError extends Error {
  override readonly name: string = "JobError";
  readonly code: JobErrorCode;
  /** Set when a verb was refused. */
  readonly reason: VerbRefusal | undefined;

  constructor(
    code: JobErrorCode,
    message: string,
    options?: { readonly cause?: unknown; readonly reason?: VerbRefusal },
  ) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.reason = options?.reason;
  }
}

/** Whatever was thrown, as an `Error`. */
export function toError(thrown: unknown): Error {
  if (thrown instanceof Error) return thrown;
  return new JobError("JOB_FAILED", `the job failed: ${String(thrown)}`, { cause: thrown });
}

/** The stable code of an error: its own when it has one, otherwise `JOB_FAILED`. */
function errorCode(error: Error): string {
  return "code" in error && typeof error.code === "string" ? error.code : "JOB_FAILED";
}

/** An error as snapshots tell it. */
export function describeError(error: Error): { readonly code: string; readonly message: string } {
  return { code: errorCode(error), message: error.message };
}
