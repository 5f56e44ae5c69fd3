import type { BlockEdge, BlockGraph, BlockNode, DirtyBitmap } from "@blockmirror/block-driver";
import type { FoldInit } from "./commit/fold.ts";
import type { ResolvedTuning } from "./options.ts";
import type { TargetBacking } from "./target-backing.ts";

/** What a mirror job is made from; everything is attached already. */
export interface MirrorJobInit {
  /** The job's id, for those who trace it. */
  readonly id: string;
  readonly graph: BlockGraph;
  /** The node that is copied, below the filter. */
  readonly source: BlockEdge;
  readonly target: BlockEdge;
  /** The filter above the source; its parents are the guests. */
  readonly filter: BlockNode;
  /** How many requests guests have made so far. */
  readonly guestRequests: () => number;
  /** Whether a drained section holds the target: nothing may be written to it then, by guests neither. */
  readonly isTargetDrained: () => boolean;
  /** The private bitmap on the filter, following writes already. */
  readonly dirty: DirtyBitmap;
  /** Bytes per chunk. */
  readonly granularity: number;
  readonly tuning: ResolvedTuning;
  /** The target names a backing image that is not open; see `SharedWrite`. */
  readonly wholeChunksOnly: boolean;
  /** What the target stands on. */
  readonly backing: TargetBacking;
  /** The node below the source whose users are led to the target; absent: the source's. */
  readonly replaces?: BlockNode;
  /** Set when the target is a backing node of the source, which a commit folds the layers above it into. */
  readonly fold?: FoldInit;
}
