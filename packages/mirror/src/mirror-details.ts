import type { CopyMode, ResolvedTuning } from "./options.ts";
import type { MirrorProgress } from "./progress.ts";

/** What a mirror adds to its job's snapshot. */
export interface MirrorDetails extends MirrorProgress {
  /** Node names. */
  readonly source: string;
  readonly target: string;
  readonly sync: ResolvedTuning["sync"];
  /** The mode in force; `auto` shows which of the two it has chosen. */
  readonly copyMode: Exclude<CopyMode, "auto">;
  /** The job chooses the mode by itself. */
  readonly copyModeIsAutomatic: boolean;
  /** Whether target and source are equal and every write reaches both before the guest sees it settled. */
  readonly activelySynced: boolean;
  /** Bytes per chunk. */
  readonly granularity: number;
  /** Bytes of the disk. */
  readonly size: number;
}
