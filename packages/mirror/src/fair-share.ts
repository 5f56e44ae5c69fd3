/*
 * All jobs of a process share its threads and its memory bandwidth. A few dozen requests keep both busy; what is in flight
 * beyond that only takes fresh memory for its buffers, and makes guests wait behind it.
 */

/** Copy operations that one job runs at a time, when it is alone (mirror rule S7.1). */
export const MAX_OPERATIONS = 16;
/** And that all jobs together run, unless there are more than half as many of them. */
const ALL_OPERATIONS = 64;
const FEWEST_OPERATIONS = 2;

let copyingJobs = 0;

/** A job that had nothing in flight begins an operation. */
export function beginCopying(): void {
  copyingJobs += 1;
}

/** A job's last operation in flight has ended. */
export function endCopying(): void {
  copyingJobs -= 1;
}

/** Operations that a job may have in flight now. */
export function operationsAllowed(): number {
  const share = Math.floor(ALL_OPERATIONS / Math.max(1, copyingJobs));
  return Math.max(FEWEST_OPERATIONS, Math.min(MAX_OPERATIONS, share));
}
