import type { ErrorAction, IoOperation } from "./error-policy.ts";
import type { JobStatus } from "./states.ts";

/** Wall-clock time in the shape QMP uses, since the Unix epoch. */
export interface EventTimestamp {
  readonly seconds: number;
  /** 0 to 999999. */
  readonly microseconds: number;
}

/** What READY and the two completion events tell. */
export interface BlockJobEventData {
  /** The job's type. */
  readonly type: string;
  /** The job's id, under the name that QMP gives it. */
  readonly device: string;
  /** Progress at the end as estimated now, bytes. */
  readonly len: number;
  /** Progress so far, bytes. */
  readonly offset: number;
  /** Speed limit, bytes per second; 0 = unlimited. */
  readonly speed: number;
}

/** Event names and their payloads; both exactly as in QMP. */
export interface JobEventData {
  /** The job went to another status. */
  readonly JOB_STATUS_CHANGE: { readonly id: string; readonly status: JobStatus };
  /** The bulk is done and the job keeps up. Once per job. */
  readonly BLOCK_JOB_READY: BlockJobEventData;
  /** An I/O error happened and this is what is done about it. */
  readonly BLOCK_JOB_ERROR: {
    readonly device: string;
    readonly operation: IoOperation;
    readonly action: ErrorAction;
  };
  /** The job waits for `finalize`. Only without auto-finalize. */
  readonly BLOCK_JOB_PENDING: { readonly type: string; readonly id: string };
  /** The job is over; `error` when it failed. */
  readonly BLOCK_JOB_COMPLETED: BlockJobEventData & { readonly error?: string };
  /** The job is over because it was force-cancelled. */
  readonly BLOCK_JOB_CANCELLED: BlockJobEventData;
}

/** Name of a job event. */
export type JobEventName = keyof JobEventData;

/** An event without its time. */
export type JobEventBody = {
  readonly [Name in JobEventName]: { readonly event: Name; readonly data: JobEventData[Name] };
}[JobEventName];

/** Something that happened to a job. Discriminated by `event`. */
export type JobEvent = JobEventBody & { readonly timestamp: EventTimestamp };

/** Told of every event, in order, while it happens. Must not throw; may call verbs. */
export type JobListener = (event: JobEvent) => void;

/** @param epochMs milliseconds since the Unix epoch, fractions allowed. */
export function toTimestamp(epochMs: number): EventTimestamp {
  const totalMicroseconds = Math.round(epochMs * 1000);
  const seconds = Math.floor(totalMicroseconds / 1_000_000);
  return { seconds, microseconds: totalMicroseconds - seconds * 1_000_000 };
}
