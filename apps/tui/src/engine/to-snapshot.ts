import type { JobNode, JobSnapshot, JobStatus } from "../job-source/job-source.ts";
import type { EngineJob } from "./engine-job.ts";

/** A job of the engine as the UI sees it. */
export function toSnapshot(entry: EngineJob, endpoint: string, nowMs: number): JobSnapshot {
  const { job, request } = entry;
  const snapshot = job.snapshot();
  const details = snapshot.details;
  return {
    id: snapshot.id,
    type: snapshot.type,
    status: visible(snapshot.status),
    endpoint,
    offset: snapshot.offset,
    length: snapshot.length,
    speed: snapshot.speed,
    ioStatus: snapshot.ioStatus,
    errorCount: snapshot.errorCounts.read + snapshot.errorCounts.write,
    error: snapshot.error,
    cleanupError: snapshot.cleanupError?.message,
    cancelled: snapshot.outcome === "cancelled",
    paused: snapshot.paused,
    userPaused: snapshot.userPaused,
    busy: snapshot.busy,
    ready: snapshot.ready,
    autoFinalize: snapshot.autoFinalize,
    autoDismiss: snapshot.autoDismiss,
    ...(details !== undefined && {
      phase: details.phase,
      bytesCopied: details.bytesCopied,
      bytesSkipped: details.bytesSkipped,
      bytesRecopied: details.bytesRecopied,
      dirtyBytes: details.dirtyBytes,
      inFlightBytes: details.inFlightBytes,
      inFlightOperations: details.inFlightOperations,
      maxInFlightOperations: details.maxInFlightOperations,
      copyRateBytesPerSec: details.copyRateBytesPerSec,
      dirtyRateBytesPerSec: details.dirtyRateBytesPerSec,
      etaSec: details.etaSec,
      unansweredMs: details.unansweredMs,
      unansweredBy: details.unansweredBy,
      copyMode: details.copyMode,
      copyModeIsAutomatic: details.copyModeIsAutomatic,
      sync: details.sync,
      bytesZeroed: details.bytesZeroed,
      activelySynced: details.activelySynced,
      granularity: details.granularity,
    }),
    source: imageNode(entry, "source"),
    target: imageNode(entry, "target"),
    onSourceError: request.onSourceError,
    onTargetError: request.onTargetError,
    startedAtMs: snapshot.startedAtMs ?? nowMs,
    elapsedMs: snapshot.elapsedMs,
    pausedMs: snapshot.pausedMs,
    updatedAtMs: nowMs,
  };
}

function imageNode(entry: EngineJob, side: "source" | "target"): JobNode {
  const { size } = entry.job.snapshot().details ?? {};
  const { request } = entry;
  const driver = (side === "source" ? request.sourceFormat : request.targetFormat) ?? "raw";
  return { name: entry[side].name, driver, size, filename: request[side] };
}

/** The two states that are never shown: before a job exists, and after it is gone. */
function visible(status: ReturnType<EngineJob["job"]["snapshot"]>["status"]): JobStatus {
  if (status === "undefined") return "created";
  return status === "null" ? "concluded" : status;
}
