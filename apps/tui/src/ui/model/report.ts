import { formatTimeOfDay } from "../../format/duration.ts";
import { printable } from "../../format/printable.ts";
import { entryText, type LogEntry } from "../state/event-log.ts";
import { fieldsOf, nodeText, remedyOf } from "./fields.ts";
import type { JobView } from "./job-view.ts";

/** Everything known about a job as text for a pager, line after line; without a job, what happened to all of them. */
export function reportText(view: JobView | undefined, log: readonly LogEntry[]): string {
  const lines = view === undefined ? ["No job is selected."] : jobLines(view);
  const events = view === undefined ? log : log.filter(({ jobId }) => jobId === view.snapshot.id);
  lines.push("", "EVENTS", ...(events.length === 0 ? ["  none since this program looks at it"] : []));
  for (const entry of events) {
    const { atMs, jobId } = entry;
    const who = view === undefined && jobId !== undefined ? `${jobId}: ` : "";
    lines.push(`  ${formatTimeOfDay(atMs)}  ${who}${entryText(entry)}`);
  }
  return `${lines.map(printable).join("\n")}\n`;
}

function jobLines(view: JobView): string[] {
  const { snapshot: job } = view;
  const lines = [
    `${job.id}  ${job.type}  ${view.word}`,
    "",
    `  source       ${nodeText(job.source) ?? "unknown"}`,
    `  target       ${nodeText(job.target) ?? "unknown"}`,
    `  endpoint     ${job.endpoint}`,
    ...fieldsOf(view).map(({ label, value }) => `  ${label.padEnd(12)} ${value}`),
  ];
  if (job.error !== undefined) {
    lines.push("", "ERROR", `  ${job.error.code}: ${job.error.message}`);
    const remedy = remedyOf(job);
    if (remedy !== undefined) lines.push(`  ${remedy}`);
  }
  if (job.cleanupError !== undefined) lines.push("", "NOT CLEANED UP", `  ${job.cleanupError}`);
  return lines;
}
