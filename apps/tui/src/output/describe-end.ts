import { describeBytes, describeRate } from "../format/bytes.ts";
import { describeDuration } from "../format/duration.ts";
import type { JobSnapshot } from "../job-source/job-source.ts";

/** How a job ended. */
export type JobEnd = "completed" | "cancelled" | "failed";

/** What a job that did not complete means for its target. A base that was committed to is an image of its own. */
function unfinished(type: string, target: string): string {
  return type === "commit"
    ? `${target} holds a part of the overlay, which shows what it showed`
    : `${target} is not a copy`;
}

/** One line with the outcome, what it means for the target, and the figures of the whole run. */
export function describeEnd(job: JobSnapshot, end: JobEnd): string {
  return `${job.id}: ${end}, ${verdict(job, end)}; ${figures(job)}`;
}

function verdict(job: JobSnapshot, end: JobEnd): string {
  const target = job.target?.filename ?? "the target";
  return end === "completed" ? `${target} is up to date` : unfinished(job.type, target);
}

function seconds(value: number): string {
  return value < 10 ? `${value.toFixed(1)}s` : describeDuration(value);
}

function figures(job: JobSnapshot): string {
  const copied = job.bytesCopied ?? job.offset;
  const again = job.bytesRecopied ?? 0;
  const activeSec = (job.elapsedMs - job.pausedMs) / 1000;
  const parts = [
    `${describeBytes(copied)} copied${again > 0 ? ` (${describeBytes(again)} of it again)` : ""}`,
  ];
  if (job.bytesSkipped !== undefined) parts.push(`${describeBytes(job.bytesSkipped)} skipped`);
  parts.push(`in ${seconds(job.elapsedMs / 1000)}`);
  if (activeSec > 0 && copied > 0) parts.push(`${describeRate(copied / activeSec)} on average`);
  return parts.join(", ");
}
