import { BlockError } from "@blockmirror/block-driver";
import type { ErrorPolicy } from "@blockmirror/blockjob";

/**
 * What is copied before the job is READY: `full` everything the source holds, so that the target is complete in itself;
 * `none` nothing, so that the target receives only what is written from now on.
 */
export type SyncMode = "full" | "none";

/** Smallest and largest buffer in bytes. */
const MAX_BUFFER_SIZE = 1024 * 1024 * 1024;
/** Buffer of a job that does not say: 16 MiB. */
export const DEFAULT_BUFFER_SIZE: number = 16 * 1024 * 1024;
/** The longest that guests are held to finish a copy that is nearly done, in milliseconds. */
export const DEFAULT_SWITCH_PAUSE_MS = 100;

/** How a mirror copies. Every member has a default. */
export interface MirrorTuning {
  /** Default `full`. */
  readonly sync?: SyncMode;
  /** Bytes per chunk: a power of two, 512 B..64 MiB; 0 = automatic. Default 0. */
  readonly granularity?: number;
  /** Bytes of buffer, rounded up to whole chunks, at most 1 GiB; 0 = 16 MiB. Default 0. */
  readonly bufferSize?: number;
  /** What an error on the source does. Default `report`. */
  readonly onSourceError?: ErrorPolicy;
  /** What an error on the target does. Default `report`. */
  readonly onTargetError?: ErrorPolicy;
  /** The target is known to read as zeroes everywhere, for example because it was just created. Default false. */
  readonly targetIsZero?: boolean;
  /**
   * Look for zeroes in what was read, and keep the target sparse there. Default: only when the source cannot say where its
   * holes are.
   */
  readonly detectZeroes?: boolean;
  /** The longest that guests are held at the end to copy the last of what they write, in milliseconds. Default 100. */
  readonly switchPauseMs?: number;
}

/** {@link MirrorTuning} with every default filled in. */
export interface ResolvedTuning {
  readonly sync: SyncMode;
  readonly granularity: number;
  readonly bufferSize: number;
  readonly onSourceError: ErrorPolicy;
  readonly onTargetError: ErrorPolicy;
  readonly targetIsZero: boolean;
  readonly detectZeroes: boolean | undefined;
  readonly switchPauseMs: number;
}

/**
 * Checks the options and fills defaults in; granularity stays as asked, since it depends on the target.
 * @throws BlockError `EINVAL` naming the option.
 */
export function resolveTuning(tuning: MirrorTuning): ResolvedTuning {
  const { bufferSize = 0, switchPauseMs = DEFAULT_SWITCH_PAUSE_MS, sync = "full" } = tuning;
  if (!Number.isSafeInteger(bufferSize) || bufferSize < 0 || bufferSize > MAX_BUFFER_SIZE) {
    throw new BlockError(
      "EINVAL",
      `buffer size must be from 0 (automatic) to 1 GiB, not ${bufferSize} bytes`,
      {
        operation: "mirror",
      },
    );
  }
  if (!(switchPauseMs >= 0) || !Number.isFinite(switchPauseMs)) {
    throw new BlockError("EINVAL", `switchPauseMs must be 0 or more milliseconds, not ${switchPauseMs}`, {
      operation: "mirror",
    });
  }
  if (sync !== "full" && sync !== "none") {
    throw new BlockError("EINVAL", `sync mode must be full or none, not ${String(sync)}`, {
      operation: "mirror",
    });
  }
  return {
    sync,
    granularity: tuning.granularity ?? 0,
    bufferSize: bufferSize === 0 ? DEFAULT_BUFFER_SIZE : bufferSize,
    onSourceError: tuning.onSourceError ?? "report",
    onTargetError: tuning.onTargetError ?? "report",
    targetIsZero: tuning.targetIsZero ?? false,
    detectZeroes: tuning.detectZeroes,
    switchPauseMs,
  };
}
