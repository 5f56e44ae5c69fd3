/**
 * The one interface between the terminal UI and whatever runs the jobs: the embedded engine, or a QMP connection to
 * any daemon. Quantities are bytes unless the name carries a unit; times are milliseconds since the Unix epoch.
 * Names and meanings follow the QEMU jobs documentation, so that a QMP source is a plain translation.
 */

/** Job states of the QEMU jobs documentation. `undefined` and `null` are never visible to a UI and left out. */
export type JobStatus =
  | "created"
  | "running"
  | "paused"
  | "ready"
  | "standby"
  | "waiting"
  | "pending"
  | "aborting"
  | "concluded";

/** Verbs a UI may send, spelled as in the verb table of the jobs documentation. */
export type JobVerb = "pause" | "resume" | "set-speed" | "complete" | "cancel" | "finalize" | "dismiss";

/** Where a mirror stands inside its life; finer than {@link JobStatus}. */
export type JobPhase = "scan" | "zero" | "copy" | "converge" | "ready" | "switch";

/** First error of a job that stopped on one: `nospace` asks for room, `failed` for repair. Resuming resets it. */
export type JobIoStatus = "ok" | "failed" | "nospace";

/** What a job does on an I/O error of one side. */
export type JobErrorPolicy = "report" | "ignore" | "stop" | "enospc" | "auto";

/** One side of a job, as a person should see it. */
export interface JobNode {
  /** Node name in the block graph. */
  readonly name: string;
  /** Driver of the node, for example `qcow2`. */
  readonly driver?: string | undefined;
  /** Virtual size, bytes. */
  readonly size?: number | undefined;
  /** File name or URI, when the node has one. */
  readonly filename?: string | undefined;
}

/** Why a job failed. */
export interface JobError {
  /** Stable code: a POSIX name such as `EIO`, or a constant of the engine. */
  readonly code: string;
  /** One sentence for people. */
  readonly message: string;
}

/**
 * Everything known about one job at one moment. Immutable: a source hands out a new object when something changed,
 * and may hand out the same object when nothing did. A field that a source cannot know is left out; the UI then
 * derives it (rates, ETA) or does not show it.
 */
export interface JobSnapshot {
  /** Unique within the source. A source over several endpoints prefixes the endpoint's name and `/`. */
  readonly id: string;
  /** Job type, for example `mirror` or `commit`. */
  readonly type: string;
  readonly status: JobStatus;
  /** Name of the endpoint that runs the job, see {@link EndpointInfo.name}. */
  readonly endpoint: string;
  /** Progress so far, bytes. Only `offset / length` is meaningful, and `length` may grow. */
  readonly offset: number;
  /** Progress at the end, as estimated now, bytes. Zero while the job does not know. */
  readonly length: number;
  /** Speed limit, bytes per second; 0 is unlimited. */
  readonly speed: number;
  readonly ioStatus: JobIoStatus;
  /** I/O errors so far, both sides together. */
  readonly errorCount: number;
  /** Set once the job failed. */
  readonly error?: JobError | undefined;
  /** Why something that the job held could not be given back when it ended, for people. */
  readonly cleanupError?: string | undefined;
  /** The job concluded because somebody cancelled it. */
  readonly cancelled?: boolean | undefined;
  /** Pause requested or in force, for any reason (user, error, drain). */
  readonly paused: boolean;
  /** Paused by a user or by an error stop; `resume` ends it. */
  readonly userPaused: boolean;
  /** False while the job is parked: sleeping, paused or finished. */
  readonly busy: boolean;
  /** Status is `ready` or `standby`. */
  readonly ready: boolean;
  readonly autoFinalize: boolean;
  readonly autoDismiss: boolean;

  readonly phase?: JobPhase | undefined;
  /** Bytes written to the target so far, re-copies included. */
  readonly bytesCopied?: number | undefined;
  /** Bytes that needed no copy (unallocated, or zero on a target that reads zero). */
  readonly bytesSkipped?: number | undefined;
  /** Part of `bytesCopied` that was copied before and had become dirty again. */
  readonly bytesRecopied?: number | undefined;
  /** Bytes still dirty; after READY this is how far the target lags. */
  readonly dirtyBytes?: number | undefined;
  readonly inFlightBytes?: number | undefined;
  readonly inFlightOperations?: number | undefined;
  readonly maxInFlightOperations?: number | undefined;
  /** Smoothed by the source; the UI smooths by itself when it is missing. */
  readonly copyRateBytesPerSec?: number | undefined;
  /** How fast writers make clean data dirty. */
  readonly dirtyRateBytesPerSec?: number | undefined;
  /** Seconds to READY, or `never` when the job does not converge at the present rates. */
  readonly etaSec?: number | "never" | undefined;
  /** Milliseconds since a device last answered anything that the job waits for; 0 when it waits for nothing. */
  readonly unansweredMs?: number | undefined;
  /** Who is waited for; left out when that is both sides, or nobody. */
  readonly unansweredBy?: "source" | "target" | undefined;
  readonly copyMode?: "background" | "write-blocking" | undefined;
  /** The job chooses the copy mode by itself, and may change it. */
  readonly copyModeIsAutomatic?: boolean | undefined;
  /** What is copied before READY: `full`, `top`, `bitmap` or `none`. */
  readonly sync?: string | undefined;
  /** Bytes of zeroes that the target was made to read without writing them. */
  readonly bytesZeroed?: number | undefined;
  /** Every guest write reaches the target before it is acknowledged. */
  readonly activelySynced?: boolean | undefined;
  /** Bytes per bit of the dirty bitmap. */
  readonly granularity?: number | undefined;
  readonly source?: JobNode | undefined;
  readonly target?: JobNode | undefined;
  readonly onSourceError?: JobErrorPolicy | undefined;
  readonly onTargetError?: JobErrorPolicy | undefined;

  readonly startedAtMs: number;
  /** Milliseconds since the start, pauses included; stands still once the job concluded. */
  readonly elapsedMs: number;
  /** Milliseconds of `elapsedMs` spent paused. */
  readonly pausedMs: number;
  /** When the source last heard of this job. A UI marks what is too old instead of showing it as live. */
  readonly updatedAtMs: number;
}

/** Who runs the jobs, and whether we can reach it. */
export interface EndpointInfo {
  /** Short name for people: `embedded`, or the socket's path. */
  readonly name: string;
  readonly kind: "embedded" | "qmp";
  /**
   * `busy`: connected, but answers are late. `ended`: it went in order, its work done. `dead`: it vanished. After both, what
   * is shown is history.
   */
  readonly state: "connected" | "connecting" | "busy" | "ended" | "dead";
  /** Why it is not connected, in one line that names it, where that is known. */
  readonly problem?: string | undefined;
}

/** Wall clock of an event, in the shape QMP uses. */
export interface EventTimestamp {
  readonly seconds: number;
  readonly microseconds: number;
}

/** Payload shared by the completion events. */
export interface BlockJobEventData {
  readonly type: string;
  /** The job's id; QMP calls it `device`. */
  readonly device: string;
  readonly len: number;
  readonly offset: number;
  readonly speed: number;
  /** Only with `BLOCK_JOB_COMPLETED` of a job that failed. */
  readonly error?: string | undefined;
}

/** Job events with the names and payloads of QMP. */
export type JobEvent =
  | {
      readonly event: "JOB_STATUS_CHANGE";
      readonly data: { readonly id: string; readonly status: JobStatus | "undefined" | "null" };
      readonly timestamp: EventTimestamp;
    }
  | {
      readonly event: "BLOCK_JOB_READY" | "BLOCK_JOB_COMPLETED" | "BLOCK_JOB_CANCELLED";
      readonly data: BlockJobEventData;
      readonly timestamp: EventTimestamp;
    }
  | {
      readonly event: "BLOCK_JOB_ERROR";
      readonly data: {
        readonly device: string;
        readonly operation: "read" | "write";
        readonly action: "report" | "ignore" | "stop";
      };
      readonly timestamp: EventTimestamp;
    }
  | {
      readonly event: "BLOCK_JOB_PENDING";
      readonly data: { readonly type: string; readonly id: string };
      readonly timestamp: EventTimestamp;
    };

/**
 * What a subscriber hears. `changed` says that {@link JobSource.list} or {@link JobSource.endpoint} may answer
 * differently now; it may come often, the UI reads at its own pace.
 */
export type JobSourceEvent = JobEvent | { readonly event: "changed" };

/** Answer to "would this verb be accepted now?". */
export type VerbPermission =
  | { readonly allowed: true }
  | {
      readonly allowed: false;
      /** Short, lower-case, names the remedy: `complete needs READY`. */
      readonly reason: string;
    };

/** Which part of the source a mirror copies. */
export type SyncMode = "full" | "top" | "bitmap" | "none";

/** A new mirror job as a person describes it. */
export interface NewJobRequest {
  /** Job id. */
  readonly id: string;
  readonly sourcePath: string;
  readonly targetPath: string;
  readonly sync: SyncMode;
  /** Name of the source's dirty bitmap, exactly with sync `bitmap`. */
  readonly bitmap?: string | undefined;
  /** True: `targetPath` exists and its content is overwritten. False: it is created. */
  readonly existing: boolean;
  /** Of a target that is created. Left out: what its name says, else the source's. */
  readonly targetFormat?: NewJobFormat | undefined;
  /** Speed limit, bytes per second; 0 is unlimited. */
  readonly speed: number;
  /** Bytes; left out means the engine's default for the target. */
  readonly granularity?: number | undefined;
  /** Bytes of buffer; left out means the engine's default. */
  readonly bufferSize?: number | undefined;
  /** Left out: `background`. */
  readonly copyMode?: NewJobCopyMode | undefined;
  /** Left out: `report`. */
  readonly onSourceError?: NewJobErrorPolicy | undefined;
  /** Left out: `report`. */
  readonly onTargetError?: NewJobErrorPolicy | undefined;
  /** Left out: `refuse`. */
  readonly largerTarget?: LargerTarget | undefined;
  /** Zeroes may become holes of the target. Left out: true. */
  readonly unmap?: boolean | undefined;
  /** Zeroes are looked for in what is read, and become holes of the target. Left out: false. */
  readonly detectZeroes?: boolean | undefined;
  /** Left out: what the job does not copy, where the target is created or sync is `top`, else `leave`. */
  readonly backingMode?: NewJobBackingMode | undefined;
  /** A node below the filters that the source begins with, whose users are led to the target. Left out: the source's. */
  readonly replaces?: string | undefined;
}

/** How writes during a job reach its target; `auto` changes between the two others as needed. */
export type NewJobCopyMode = "background" | "write-blocking" | "auto";

/** Formats of a target that is created. */
export type NewJobFormat = "raw" | "qcow2";

/** What a new job may do on an I/O error of one side. */
export type NewJobErrorPolicy = Exclude<JobErrorPolicy, "auto">;

/** What to do with a target that is larger than the source. */
export type LargerTarget = "refuse" | "zero" | "leave";

/** What a target stands on after the switch: what it does, what its image names, or what the source stands on. */
export type NewJobBackingMode = "leave" | "open-chain" | "source-chain";

/** What {@link JobSource.start} understands beyond sync mode, speed and granularity. */
export interface NewJobOptions {
  readonly copyModes: readonly NewJobCopyMode[];
  /** Empty: larger targets are not a matter of choice. */
  readonly largerTargets: readonly LargerTarget[];
  /** Whether it can be told to write zeroes out. */
  readonly unmap: boolean;
  /** Whether it can be told to look for zeroes. */
  readonly detectZeroes: boolean;
  /** Of targets that are created. Empty: not a matter of choice. */
  readonly formats: readonly NewJobFormat[];
  /** Empty: what a target stands on is not a matter of choice. */
  readonly backingModes: readonly NewJobBackingMode[];
  /** Whether the users of another node than the source can be led to the target. */
  readonly replaces: boolean;
}

/** What a path is to lead to: the source, a target that is there, or a place for something new. */
export type PathPurpose = "source" | "image" | "place";

/** A problem of one field of a {@link NewJobRequest}; `field` left out concerns the request as a whole. */
export interface NewJobProblem {
  readonly field?: keyof NewJobRequest | undefined;
  /** What is wrong and what to do, one line. */
  readonly message: string;
}

/** What starting a request would mean, found without side effects. */
export interface NewJobReview {
  /** Empty when the job can be started. */
  readonly problems: readonly NewJobProblem[];
  /** Data that starting would destroy; the UI then asks for the job's name to be typed. */
  readonly destroys?: { readonly target: string; readonly size?: number | undefined } | undefined;
}

/**
 * A picture of a disk: `cellCount` cells of equal range, and per cell the share (0..1) of its bytes in each
 * condition. `copied + dirty` is 1 for the part of the disk the job looks at; `inFlight` and `failed` overlap `dirty`.
 */
export interface JobMap {
  readonly cellCount: number;
  readonly copied: Float32Array;
  readonly dirty: Float32Array;
  readonly inFlight: Float32Array;
  readonly failed: Float32Array;
}

/**
 * Makes an all-zero map to be filled by a source.
 * @throws RangeError when `cellCount` is not a positive integer.
 */
export function createJobMap(cellCount: number): JobMap {
  if (!Number.isSafeInteger(cellCount) || cellCount < 1) {
    throw new RangeError(`a map has a positive number of cells, not ${cellCount}`);
  }
  return {
    cellCount,
    copied: new Float32Array(cellCount),
    dirty: new Float32Array(cellCount),
    inFlight: new Float32Array(cellCount),
    failed: new Float32Array(cellCount),
  };
}

/** Why there is no {@link JobMap} of a job, in a few words. */
export interface NoJobMap {
  readonly reason: string;
}

/**
 * Jobs to look at and to steer. Verbs resolve when the endpoint accepted them, which is not the moment they take
 * effect: that is told by events. They reject with an `Error` whose message may be shown as it is.
 */
export interface JobSource {
  readonly endpoint: EndpointInfo;
  /** All jobs, oldest first. Cheap: called on every tick. */
  list(): readonly JobSnapshot[];
  /** Returns the function that ends the subscription. Listeners must not throw. */
  subscribe(listener: (event: JobSourceEvent) => void): () => void;
  /** Whether a verb would be accepted now; synchronous, so that a UI can grey out what would be refused. */
  can(id: string, verb: JobVerb): VerbPermission;
  pause(id: string): Promise<void>;
  resume(id: string): Promise<void>;
  /** @param bytesPerSec - 0 is unlimited. */
  setSpeed(id: string, bytesPerSec: number): Promise<void>;
  complete(id: string): Promise<void>;
  cancel(id: string, options: { readonly force: boolean }): Promise<void>;
  finalize(id: string): Promise<void>;
  dismiss(id: string): Promise<void>;

  /**
   * The disk of a job as `cellCount` cells, or why there is none; `undefined` when that is not known yet. May fill and
   * return `into` when that has `cellCount` cells. Absent when the endpoint has no maps at all.
   */
  map?(id: string, cellCount: number, into?: JobMap): JobMap | NoJobMap | undefined;
  /** Sync modes that {@link JobSource.start} accepts; `full` and `none` when left out. */
  readonly syncModes?: readonly SyncMode[] | undefined;
  /** Further options of {@link JobSource.start}; none when left out. */
  readonly newJobOptions?: NewJobOptions | undefined;
  /** How a path or name that is being typed, or not yet, may go on; `undefined` when nothing is known. Never rejects. */
  suggest?(path: string, purpose: PathPurpose): Promise<string | undefined>;
  /** Looks at a request without side effects. */
  validate?(request: NewJobRequest): Promise<NewJobReview>;
  /** Starts a mirror and returns its job id. Absent when the endpoint cannot start jobs for us. */
  start?(request: NewJobRequest): Promise<string>;
}
