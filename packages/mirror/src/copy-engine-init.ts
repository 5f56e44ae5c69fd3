import type { BlockEdge, DirtyBitmap } from "@blockmirror/block-driver";
import type { Silence } from "./silence.ts";
import type { ZeroMap } from "./zero-map.ts";

/** Which side failed: the error policies are per side. */
export type FailedSide = "read" | "write";

/** What a `CopyEngine` works on. */
export interface CopyEngineInit {
  /** The job's id, for those who trace it. */
  readonly job: string;
  readonly source: BlockEdge;
  readonly target: BlockEdge;
  /** Bytes to keep equal. */
  readonly size: number;
  readonly granularity: number;
  /** Bytes of buffer; rounded up to whole chunks. */
  readonly bufferSize: number;
  readonly dirty: DirtyBitmap;
  readonly zeroMap: ZeroMap;
  /** Told what the devices are asked for, and of their answers. */
  readonly silence: Silence;
  /** Compare what was read with zero before writing it. */
  readonly detectZeroes: boolean;
  /** Told about every failure, after the range has become dirty again (mirror rule S16.1). */
  readonly onError: (side: FailedSide, error: unknown) => void;
  /** Told that an operation has ended, when its slot and buffers are free again. */
  readonly onEnd: () => void;
  /** Whether the job was thrown away: what was read is not written any more. */
  readonly isOver: () => boolean;
  /** Told how many bytes an operation moves when it is submitted, for the rate limit. */
  readonly onSubmit: (bytes: number) => void;
}

/** Why `CopyEngine.fill` stopped: the caller's word, no slot or buffer, or nothing left that is not in flight. */
export type FillResult = "held" | "full" | "exhausted";

/** Bounds of `CopyEngine.fill`. */
export interface FillLimits {
  /** Operations that run at a time, at most. Default 16. */
  readonly operations?: number;
  /** Nobody minds if one operation takes long: no limit of speed holds, and no guest is busy. Default false. */
  readonly inLargeSteps?: boolean;
}
