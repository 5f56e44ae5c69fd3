import { JobError } from "./errors.ts";

/** A letter, then letters, digits, `-`, `.` and `_`. */
const WELL_FORMED = /^[A-Za-z][A-Za-z0-9._-]*$/;

/** Whether a job may be named like this: a letter first, then letters, digits, `-`, `.` and `_`. */
export function isWellFormedJobId(id: string): boolean {
  return WELL_FORMED.test(id);
}

/**
 * Checks the id of a new job.
 *
 * @throws JobError `JOB_ID_REQUIRED`, `JOB_ID_INVALID` or `JOB_ID_IN_USE`.
 */
export function requireNewJobId(id: string | undefined, isTaken: (id: string) => boolean): string {
  if (id === undefined) throw new JobError("JOB_ID_REQUIRED", "An explicit job ID is required");
  if (!isWellFormedJobId(id)) throw new JobError("JOB_ID_INVALID", `Invalid job ID '${id}'`);
  if (isTaken(id)) throw new JobError("JOB_ID_IN_USE", `Job ID '${id}' already in use`);
  return id;
}
