import type { JobSnapshot } from "./job-source.ts";

/** So long without an answer, in milliseconds, and it is no longer the device taking its time. */
const STALLED_AFTER_MS = 5000;

/**
 * Milliseconds since a device answered a job that waits for nothing else; undefined while that is nothing to speak of. Its
 * rates and its forecast say nothing then.
 */
export function stalledMsOf(job: JobSnapshot): number | undefined {
  const { status, unansweredMs = 0 } = job;
  return status !== "concluded" && unansweredMs >= STALLED_AFTER_MS ? unansweredMs : undefined;
}

/** That nothing comes back, in words, and from whom if that is known. */
export function describeSilence({ unansweredBy }: JobSnapshot): string {
  return unansweredBy === undefined ? "no answer" : `no answer from the ${unansweredBy}`;
}
