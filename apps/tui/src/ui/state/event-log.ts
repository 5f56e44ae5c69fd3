import { ERROR_ACTIONS } from "../../job-source/error-actions.ts";
import type { JobEvent } from "../../job-source/job-source.ts";
import type { Tone } from "../theme.ts";

/** One line of the event log. */
export interface LogEntry {
  readonly atMs: number;
  /** The job it is about, if any. */
  readonly jobId: string | undefined;
  readonly text: string;
  readonly tone: Tone;
  /** How often it happened in a row, if more than once; the time is that of the last. */
  readonly times?: number | undefined;
}

/** Lines the log keeps. */
export const LOG_CAPACITY = 200;

/**
 * Adds a line, forgetting the oldest ones. An error that comes again is counted: one that ignores its errors would have all
 * else forgotten soon.
 */
export function appendLog(log: readonly LogEntry[], entry: LogEntry): readonly LogEntry[] {
  const last = log.at(-1);
  if (
    entry.tone === "failure" &&
    last !== undefined &&
    last.jobId === entry.jobId &&
    last.text === entry.text
  ) {
    return [...log.slice(0, -1), { ...entry, times: (last.times ?? 1) + 1 }];
  }
  return [...log.slice(-(LOG_CAPACITY - 1)), entry];
}

/** The words of a line. */
export function entryText({ text, times }: LogEntry): string {
  return times === undefined ? text : `${text} (${times} times)`;
}

/** Words for a job event. */
export function describeEvent(event: JobEvent): LogEntry {
  const atMs = event.timestamp.seconds * 1000 + event.timestamp.microseconds / 1000;
  switch (event.event) {
    case "JOB_STATUS_CHANGE": {
      const { id, status } = event.data;
      return { atMs, jobId: id, text: status === "null" ? "gone" : `now ${status}`, tone: "dim" };
    }
    case "BLOCK_JOB_READY":
      return { atMs, jobId: event.data.device, text: "READY: the target follows the source", tone: "ready" };
    case "BLOCK_JOB_ERROR": {
      const { device, operation, action } = event.data;
      return { atMs, jobId: device, text: `${operation} error: ${ERROR_ACTIONS[action]}`, tone: "failure" };
    }
    case "BLOCK_JOB_PENDING":
      return { atMs, jobId: event.data.id, text: "waits for finalize", tone: "warning" };
    case "BLOCK_JOB_CANCELLED":
      return { atMs, jobId: event.data.device, text: "cancelled", tone: "warning" };
    case "BLOCK_JOB_COMPLETED": {
      const { device, error } = event.data;
      if (error === undefined) return { atMs, jobId: device, text: "completed", tone: "running" };
      return { atMs, jobId: device, text: `failed: ${error}`, tone: "failure" };
    }
  }
}
