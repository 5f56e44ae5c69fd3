import type { JobSnapshot } from "./job-source.ts";

/**
 * Whether nothing is left to be copied, so that a job may show 100 %: it converged, it ended well, or it did all and waits
 * to be finalized. Its length alone does not tell: a running job that is level with its writers is so for a moment only.
 */
export function allIsCopied(job: JobSnapshot): boolean {
  if (job.ready) return true;
  if (job.error !== undefined || job.cancelled === true) return false;
  if (job.status === "concluded") return true;
  if (job.status !== "waiting" && job.status !== "pending") return false;
  return job.offset >= job.length && (job.dirtyBytes ?? 0) === 0;
}
