import { BlockError } from "@blockmirror/block-driver";
import type { ChangeOptions, ErrorPolicy } from "@blockmirror/blockjob";

/**
 * What is copied before the job is READY:
 * - `full`: everything the source holds, with its backing chain, so that the target is complete in itself;
 * - `top`: what the source's own layer holds; the target stands on the same backing image. Without one it is `full`;
 * - `bitmap`: what a dirty bitmap of the source says, so that a target that was equal once becomes equal again;
 * - `none`: nothing, so that the target receives only what is written from now on.
 */
export type SyncMode = "full" | "top" | "bitmap" | "none";

/**
 * How writes of guests reach the target:
 * - `background`: the job copies them later; guests are never slowed down, and may outrun the job for ever;
 * - `write-blocking`: a guest's write goes to both sides before it settles, so that the job always comes to an end;
 * - `auto`: background, and write-blocking for as long as the job could not keep up otherwise.
 */
export type CopyMode = "background" | "write-blocking" | "auto";

/** Larger targets: refused, or what lies beyond the source's end is made zero, or is left as it is. */
export type LargerTarget = "refuse" | "zero" | "leave";

/**
 * What the target stands on when the job succeeds:
 * - `leave`: on what it stands already;
 * - `open-chain`: on the backing file that its image names, opened by `complete()`;
 * - `source-chain`: with sync `full` on nothing; with `top` on the backing node of the source, from the start; with `none` on
 *   the source itself, when its users are led to the target. The target records it where its format can.
 */
export type BackingMode = "leave" | "open-chain" | "source-chain";

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
  /** Name of the source's dirty bitmap that `bitmap` starts from. It is read once, and neither cleared nor kept busy. */
  readonly bitmap?: string;
  /** Default `background`. Can be changed while the job runs. */
  readonly copyMode?: CopyMode;
  /** What to do when the target is larger than the source. Default `refuse`. */
  readonly largerTarget?: LargerTarget;
  /** What the target stands on afterwards. Default `leave`. */
  readonly backingMode?: BackingMode;
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
  /**
   * The longest that guests are held at the end to copy the last of what they write, in milliseconds. Default 100. It is not
   * less than what is under way at once takes, so with 0 they are held as briefly as a job beside busy guests can end. A target
   * that needs more than five times that and more than 50, for a flush say, gets twice as much each time, up to ten seconds.
   */
  readonly switchPauseMs?: number;
}

const BACKING_MODES: readonly BackingMode[] = ["leave", "open-chain", "source-chain"];
const SYNC_MODES: readonly SyncMode[] = ["full", "top", "bitmap", "none"];
/** The copy modes, in the words of the options. */
const COPY_MODES: readonly CopyMode[] = ["background", "write-blocking", "auto"];

function mustBeOneOf(what: string, value: string, words: readonly string[]): void {
  if (words.includes(value)) return;
  throw new BlockError("EINVAL", `${what} must be ${words.join(", ")}, not ${value}`, {
    operation: "mirror",
  });
}

/** {@link MirrorTuning} with every default filled in. */
export interface ResolvedTuning {
  readonly sync: SyncMode;
  readonly bitmap: string | undefined;
  readonly copyMode: CopyMode;
  readonly largerTarget: LargerTarget;
  readonly backingMode: BackingMode;
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
  const bitmap = tuning.bitmap;
  mustBeOneOf("sync mode", sync, SYNC_MODES);
  mustBeOneOf("backing mode", tuning.backingMode ?? "leave", BACKING_MODES);
  if (tuning.backingMode === "source-chain" && sync === "bitmap") {
    throw new BlockError(
      "EINVAL",
      "backing mode source-chain is for sync full, top and none; a target of sync bitmap stands on what it did",
      { operation: "mirror" },
    );
  }
  mustBeOneOf("copy mode", tuning.copyMode ?? "background", COPY_MODES);
  if ((sync === "bitmap") !== (bitmap !== undefined)) {
    throw new BlockError(
      "EINVAL",
      sync === "bitmap"
        ? "sync mode bitmap needs the name of a dirty bitmap of the source"
        : `a dirty bitmap is only used by sync mode bitmap, not by ${sync}`,
      { operation: "mirror" },
    );
  }
  return {
    sync,
    bitmap,
    copyMode: tuning.copyMode ?? "background",
    largerTarget: tuning.largerTarget ?? "refuse",
    backingMode: tuning.backingMode ?? "leave",
    granularity: tuning.granularity ?? 0,
    bufferSize: bufferSize === 0 ? DEFAULT_BUFFER_SIZE : bufferSize,
    onSourceError: tuning.onSourceError ?? "report",
    onTargetError: tuning.onTargetError ?? "report",
    targetIsZero: tuning.targetIsZero ?? false,
    detectZeroes: tuning.detectZeroes,
    switchPauseMs,
  };
}

/**
 * What the change verb of a mirror asks for.
 * @throws BlockError `EINVAL` for another option or an unknown mode.
 */
export function copyModeOf({ copyMode, ...others }: ChangeOptions): CopyMode {
  const mode = COPY_MODES.find((word) => word === copyMode);
  const [other] = Object.keys(others);
  if (mode !== undefined && other === undefined) return mode;
  throw new BlockError(
    "EINVAL",
    other === undefined
      ? `Change to copy mode '${String(copyMode)}' is not implemented; there are ${COPY_MODES.join(", ")}`
      : `a mirror has no option '${other}' that can be changed; it has copyMode`,
    { operation: "change" },
  );
}
