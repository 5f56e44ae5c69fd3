import type { JobIoStatus, JobSnapshot } from "../job-source/job-source.ts";
import { isJobStatus } from "../job-source/job-status.ts";
import type { PeerJob } from "./peer-answers.ts";
import type { JobSides } from "./peer-nodes.ts";

/** What is known about a job from having watched it, beside the peer's last answer. */
export interface WatchedJob {
  readonly firstSeenMs: number;
  readonly errorCount: number;
  /** Sides whose errors the job was seen to ignore. */
  readonly ignores: ReadonlySet<"read" | "write">;
  readonly pausedMs: number;
  readonly sides: JobSides | undefined;
  /** When the watched job ended; its clock stands still from then on. */
  readonly endedMs: number | undefined;
}

/** QEMU's words for a job that ended because it was told to. */
const CANCELLED = "Operation canceled";

const WORK_IS_DONE: ReadonlySet<string> = new Set(["waiting", "pending", "aborting", "concluded"]);

/** A peer's job as the UI shows it. What a peer cannot know is left out, and the UI derives it where it can. */
export function peerJobSnapshot(
  job: PeerJob,
  watched: WatchedJob,
  endpoint: string,
  updatedAtMs: number,
  nowMs: number,
): JobSnapshot {
  const status = isJobStatus(job.status) ? job.status : "running";
  const cancelling = job.error === CANCELLED;
  const cancelled = status === "concluded" && cancelling;
  return {
    id: job.id,
    type: job.type,
    status,
    endpoint,
    offset: job.offset,
    length: job.length,
    speed: job.speed,
    ioStatus: ioStatusOf(job.ioStatus),
    errorCount: watched.errorCount,
    ...(job.error !== undefined && !cancelling && { error: { code: "EIO", message: job.error } }),
    cancelled,
    paused: isPaused(job),
    // QMP does not say who paused a job; a resume is accepted for whatever a person may end.
    userPaused: job.paused && (status === "paused" || status === "standby"),
    busy: job.busy,
    ready: job.ready,
    autoFinalize: job.autoFinalize,
    autoDismiss: job.autoDismiss,
    ...(job.activelySynced !== undefined && { activelySynced: job.activelySynced }),
    ...((job.copyMode === "background" || job.copyMode === "write-blocking") && { copyMode: job.copyMode }),
    // Its policies are not told, but only one of them ignores.
    ...(watched.ignores.has("read") && { onSourceError: "ignore" as const }),
    ...(watched.ignores.has("write") && { onTargetError: "ignore" as const }),
    source: watched.sides?.source,
    target: watched.sides?.target,
    startedAtMs: watched.firstSeenMs,
    elapsedMs: (watched.endedMs ?? nowMs) - watched.firstSeenMs,
    pausedMs: watched.pausedMs,
    updatedAtMs,
  };
}

/** Whether a job that could work is held back: QEMU says `paused` also of one that waits to be finalized. */
export function isPaused({ paused, status }: PeerJob): boolean {
  return paused && !WORK_IS_DONE.has(status);
}

function ioStatusOf(word: string): JobIoStatus {
  return word === "failed" || word === "nospace" ? word : "ok";
}
