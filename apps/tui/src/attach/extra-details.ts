import type { JobPhase, JobSnapshot } from "../job-source/job-source.ts";
import { asObject, asObjects, numberOf, textOf, type Json } from "./peer-answers.ts";

/** What only our own daemon tells about a job, and QMP has no words for. */
export type ExtraDetails = Partial<
  Pick<
    JobSnapshot,
    | "phase"
    | "bytesCopied"
    | "bytesSkipped"
    | "bytesRecopied"
    | "dirtyBytes"
    | "inFlightBytes"
    | "inFlightOperations"
    | "copyRateBytesPerSec"
    | "dirtyRateBytesPerSec"
    | "etaSec"
    | "unansweredMs"
    | "unansweredBy"
    | "granularity"
    | "copyMode"
    | "copyModeIsAutomatic"
    | "sync"
    | "bytesZeroed"
    | "elapsedMs"
    | "pausedMs"
    | "errorCount"
    | "cleanupError"
  >
>;

/** The command that tells them. */
export const EXTRA_COMMAND = "x-blockmirror-query-jobs";

const PHASES: ReadonlySet<string> = new Set<JobPhase>([
  "scan",
  "zero",
  "copy",
  "converge",
  "ready",
  "switch",
]);

/** Reads the answer by job. */
export function readExtraDetails(answer: unknown): ReadonlyMap<string, ExtraDetails> {
  return new Map(
    asObjects(answer).flatMap((entry) => {
      const id = textOf(entry, "id");
      return id === undefined ? [] : [[id, detailsOf(entry)] as const];
    }),
  );
}

function detailsOf(entry: Json): ExtraDetails {
  const copyMode = textOf(entry, "copy-mode");
  const automatic = entry["copy-mode-automatic"];
  const phase = textOf(entry, "phase");
  const elapsedMs = numberOf(entry, "elapsed-ms");
  const pausedMs = numberOf(entry, "paused-ms");
  const errors = [numberOf(entry, "read-errors"), numberOf(entry, "write-errors")];
  const forecast = asObject(entry["forecast"]);
  const side = textOf(entry, "unanswered-by");
  return {
    cleanupError: textOf(entry, "cleanup-error"),
    ...(isPhase(phase) && { phase }),
    unansweredMs: numberOf(entry, "unanswered-ms"),
    ...((side === "source" || side === "target") && { unansweredBy: side }),
    ...((copyMode === "background" || copyMode === "write-blocking") && { copyMode }),
    ...(typeof automatic === "boolean" && { copyModeIsAutomatic: automatic }),
    // What the peer has counted itself goes further back than what was seen from here.
    ...(elapsedMs !== undefined && { elapsedMs }),
    ...(pausedMs !== undefined && { pausedMs }),
    ...(errors.every((count) => count !== undefined) && {
      errorCount: errors.reduce((sum, count) => sum + count, 0),
    }),
    sync: textOf(entry, "sync"),
    bytesZeroed: numberOf(entry, "bytes-zeroed"),
    bytesCopied: numberOf(entry, "bytes-copied"),
    bytesSkipped: numberOf(entry, "bytes-skipped"),
    bytesRecopied: numberOf(entry, "bytes-recopied"),
    dirtyBytes: numberOf(entry, "dirty-bytes"),
    inFlightBytes: numberOf(entry, "in-flight-bytes"),
    inFlightOperations: numberOf(entry, "in-flight-operations"),
    copyRateBytesPerSec: numberOf(entry, "copy-rate"),
    dirtyRateBytesPerSec: numberOf(entry, "dirty-rate"),
    granularity: numberOf(entry, "granularity"),
    etaSec: forecast?.["converges"] === false ? "never" : numberOf(forecast, "seconds"),
  };
}

function isPhase(word: string | undefined): word is JobPhase {
  return word !== undefined && PHASES.has(word);
}
