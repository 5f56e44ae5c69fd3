import { describeBytes, describeRate } from "../format/bytes.ts";
import { describeDuration, formatTimeOfDay } from "../format/duration.ts";
import { allIsCopied } from "../job-source/all-is-copied.ts";
import { ERROR_ACTIONS } from "../job-source/error-actions.ts";
import { isParked } from "../job-source/job-status.ts";
import type { JobSnapshot } from "../job-source/job-source.ts";
import { describeSilence, stalledMsOf } from "../job-source/stall.ts";
import { describeEnd } from "./describe-end.ts";
import type { Wording } from "./event-lines.ts";

/** How a job that stopped on an error goes on, where those who read the lines can have it resumed by attaching. */
const BY_ATTACHING = "resume it by attach";

/** Lines have no keys: where nobody can attach, a job that stopped cannot be resumed at all. */
const NOT_HERE = "end it by ctrl-c and start it again; only the terminal UI and --detach let it be resumed";

/** One line per state change and per interval, for people, pipes and log files. No cursor codes, no colour. */
export const plainWording: Wording = wordingWith(BY_ATTACHING);

/** The same for a job of this very process. */
export const foregroundWording: Wording = wordingWith(NOT_HERE);

function wordingWith(resuming: string): Wording {
  return {
    isComplete: false,
    event: (event, job) => {
      const at = formatTimeOfDay(event.timestamp.seconds * 1000);
      switch (event.event) {
        case "JOB_STATUS_CHANGE": {
          const { id, status } = event.data;
          if (status === "concluded" && job?.cleanupError !== undefined) {
            return `${at} ${id}: could not clean up: ${job.cleanupError}`;
          }
          if (TOLD_BY_EVENT.has(status)) return undefined;
          return `${at} ${id}: ${status}${statusNote(status, job, resuming)}`;
        }
        case "BLOCK_JOB_ERROR":
          return `${at} ${event.data.device}: ${event.data.operation} error: ${ERROR_ACTIONS[event.data.action]}`;
        case "BLOCK_JOB_COMPLETED":
          if (event.data.error !== undefined)
            return `${at} ${event.data.device}: failed: ${event.data.error}`;
          return job === undefined
            ? `${at} ${event.data.device}: completed`
            : `${at} ${describeEnd(job, "completed")}`;
        case "BLOCK_JOB_CANCELLED":
          return job === undefined
            ? `${at} ${event.data.device}: cancelled`
            : `${at} ${describeEnd(job, "cancelled")}`;
        case "BLOCK_JOB_READY":
          return `${at} ${event.data.device}: ready: the target follows the source`;
        case "BLOCK_JOB_PENDING":
          return `${at} ${event.data.id}: waits to be finalized`;
      }
    },
    progress: (job, nowMs) => {
      const share = job.length > 0 ? Math.floor((job.offset / job.length) * 1000) / 10 : 0;
      const isCopied = allIsCopied(job);
      const percent = isCopied ? "100%" : `${Math.min(99.9, share).toFixed(1)}%`;
      const parts = [
        `${formatTimeOfDay(nowMs)} ${job.id}: ${job.paused ? "paused" : (job.phase ?? job.status)} ${percent}`,
        `${describeBytes(job.offset)} of ${describeBytes(job.length)}`,
      ];
      // The average goes on for a while after the last copy; there is nothing to be copied any more.
      const { copyRateBytesPerSec: rate, etaSec } = job;
      const stalledMs = stalledMsOf(job);
      if (stalledMs !== undefined) {
        parts.push(`${describeSilence(job)} for ${describeDuration(stalledMs / 1000)}`);
      }
      const isMoving = stalledMs === undefined && !isParked(job.status);
      if (isMoving && rate !== undefined && (!isCopied || job.dirtyBytes !== 0))
        parts.push(describeRate(rate));
      if (isMoving && etaSec !== undefined && !isCopied) parts.push(`ETA ${etaText(etaSec)}`);
      if (job.bytesSkipped !== undefined) parts.push(`${describeBytes(job.bytesSkipped)} skipped`);
      if (job.dirtyBytes !== undefined) parts.push(`${describeBytes(job.dirtyBytes)} dirty${dirtyRate(job)}`);
      if (job.errorCount > 0) parts.push(`${job.errorCount} ${job.errorCount === 1 ? "error" : "errors"}`);
      if (job.ioStatus !== "ok") parts.push(job.ioStatus === "nospace" ? "the target is full" : "I/O error");
      return parts.join(", ");
    },
  };
}

/** States that an event with more to say follows or precedes. */
const TOLD_BY_EVENT: ReadonlySet<string> = new Set(["ready", "concluded", "null"]);

function dirtyRate(job: JobSnapshot): string {
  const rate = job.dirtyRateBytesPerSec ?? 0;
  return rate < 1 ? "" : ` (+${describeRate(rate)})`;
}

function etaText(etaSec: number | "never"): string {
  return etaSec === "never" ? "none: it is dirtied faster than it is copied" : describeDuration(etaSec);
}

function statusNote(status: string, job: JobSnapshot | undefined, resuming: string): string {
  if (status !== "paused" && status !== "standby") return "";
  if (job === undefined || job.ioStatus === "ok") return "";
  return job.ioStatus === "nospace"
    ? ` (the target is full; make room, then ${resuming})`
    : ` (I/O error; repair, then ${resuming})`;
}
