import type { ErrorPolicy } from "@blockmirror/blockjob";
import type { BackingMode, CopyMode, LargerTarget, SyncMode } from "@blockmirror/mirror";
import type { CreationOptions } from "../images/creation-options.ts";
import type { ImageFormat } from "../images/image-format.ts";
import { isNbdUri } from "../images/is-nbd-uri.ts";
import type { AskedBy } from "./remedies.ts";

/** A mirror of two files, as the command line and the form of the UI describe it. */
export interface MirrorRequest {
  readonly id: string;
  /** Path of the image to copy. */
  readonly source: string;
  /** Path of the copy. */
  readonly target: string;
  /** Default: told by its first bytes. */
  readonly sourceFormat?: ImageFormat;
  /**
   * Default: told by its first bytes. Of a target that is created: what its name says, where the source's says something else
   * or nothing; else the format of the source.
   */
  readonly targetFormat?: ImageFormat;
  /** Options of a target that is created, by its driver's names. */
  readonly targetOptions?: CreationOptions;
  /** The target exists and is overwritten; otherwise it is created and must not exist. */
  readonly existing: boolean;
  readonly sync: SyncMode;
  /** Name of the source's dirty bitmap that sync `bitmap` starts from. */
  readonly bitmap?: string;
  /** Default `background`. */
  readonly copyMode?: CopyMode;
  /** What to do with a target that is larger than the source. Default: refuse it. */
  readonly largerTarget?: LargerTarget;
  /** What the target stands on after the switch. Default: {@link backingModeOf}. */
  readonly backingMode?: BackingMode;
  /** Bytes per second; 0 = unlimited. */
  readonly speed: number;
  /** Bytes; 0 = automatic. */
  readonly granularity: number;
  /** Bytes; 0 = default. */
  readonly bufferSize: number;
  readonly onSourceError: ErrorPolicy;
  readonly onTargetError: ErrorPolicy;
  /** What a lost NBD server of the target means for writes that it answered and had not flushed. Default `fail`. */
  readonly unflushedWrites?: "fail" | "trust";
  /** Look for zeroes in what is read. Default: only where the source cannot tell its holes. */
  readonly detectZeroes?: boolean;
  /** Open the source for writing, for a writer inside this program. */
  readonly writableSource?: boolean;
  /** In whose words problems say what to do. Default: the command line's. */
  readonly askedBy?: AskedBy;
}

/** Whether the target is made by the job, and for what it does not copy stands on the source, as an overlay of it. */
export function standsOnSource({ sync, existing, backingMode = "source-chain" }: MirrorRequest): boolean {
  return sync === "none" && !existing && backingMode !== "leave";
}

/**
 * What the target stands on after the switch: as it was asked for, or on what the job does not copy, so that the target never
 * shows zeroes in its place; a target that was there is taken as it is, but for the top layer alone, and so is an export.
 */
export function backingModeOf(request: MirrorRequest): BackingMode {
  const { sync, backingMode } = request;
  const isOverlay = (sync === "top" && !isRawExport(request)) || standsOnSource(request);
  return backingMode ?? (isOverlay ? "source-chain" : "leave");
}

/** Whether the target is a raw export: what that stands on is its server's business, and cannot be seen from here. */
export function isRawExport({ target, targetFormat }: MirrorRequest): boolean {
  return isNbdUri(target) && targetFormat !== "qcow2";
}
