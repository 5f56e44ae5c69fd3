import type { IoStatus } from "./error-policy.ts";
import type { JobStatus } from "./states.ts";

/** How a job ended. */
export type JobOutcome = "completed" | "cancelled" | "failed";

/** The end of a job. */
export interface JobResult {
  /** `cancelled` means by force; a soft cancel that the driver took as "finish early" ends `completed`. */
  readonly outcome: JobOutcome;
  /** Why it failed; set exactly for `failed`. */
  readonly error?: Error;
  /** First thing that `abort` or `clean` threw. They must not; what they release may have leaked. */
  readonly cleanupError?: Error;
}

/** Everything the engine knows about a job at one moment. A plain object that never changes. */
export interface JobSnapshot<Details = unknown> {
  readonly id: string;
  readonly type: string;
  readonly status: JobStatus;
  /** Speed limit, bytes per second; 0 = unlimited. */
  readonly speed: number;
  /** Progress so far, bytes. */
  readonly offset: number;
  /** Progress at the end as estimated now, bytes. */
  readonly length: number;
  readonly ioStatus: IoStatus;
  /** How it ended, as in {@link JobResult}; set once it has concluded. */
  readonly outcome?: JobOutcome;
  /** Why it failed. The code is the error's own (`EIO`) or `JOB_FAILED`. */
  readonly error?: { readonly code: string; readonly message: string };
  /**
   * What `abort` or `clean` threw, as in {@link JobResult}: what the job held may have leaked, however it ended. The code is
   * the error's own or `JOB_FAILED`.
   */
  readonly cleanupError?: { readonly code: string; readonly message: string };
  /** Pause asked for or in force, for any reason. True before the status says so. */
  readonly paused: boolean;
  /** Paused by the user, or stopped on an error: `resume` lifts it. */
  readonly userPaused: boolean;
  /** False while parked: not started, sleeping, paused or over. */
  readonly busy: boolean;
  /** Status is READY or STANDBY. */
  readonly ready: boolean;
  /** A cancel was asked for, soft or forced. */
  readonly cancelRequested: boolean;
  /** `complete` was accepted. */
  readonly completeRequested: boolean;
  readonly autoFinalize: boolean;
  readonly autoDismiss: boolean;
  /** I/O errors so far. */
  readonly errorCounts: { readonly read: number; readonly write: number };
  /** When it started, milliseconds since the Unix epoch. */
  readonly startedAtMs?: number;
  /** Milliseconds since the start, pauses included; stands still once concluded. */
  readonly elapsedMs: number;
  /** Milliseconds of `elapsedMs` spent in PAUSED or STANDBY. */
  readonly pausedMs: number;
  /** What the job type adds. */
  readonly details?: Details;
}
