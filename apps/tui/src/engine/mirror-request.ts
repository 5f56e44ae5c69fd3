import type { ErrorPolicy } from "@blockmirror/blockjob";
import type { SyncMode } from "@blockmirror/mirror";

/** A mirror of two files, as the command line and the form of the UI describe it. */
export interface MirrorRequest {
  readonly id: string;
  /** Path of the image to copy. */
  readonly source: string;
  /** Path of the copy. */
  readonly target: string;
  readonly sourceFormat?: string;
  readonly targetFormat?: string;
  /** The target exists and is overwritten; otherwise it is created and must not exist. */
  readonly existing: boolean;
  readonly sync: SyncMode;
  /** Bytes per second; 0 = unlimited. */
  readonly speed: number;
  /** Bytes; 0 = automatic. */
  readonly granularity: number;
  /** Bytes; 0 = default. */
  readonly bufferSize: number;
  readonly onSourceError: ErrorPolicy;
  readonly onTargetError: ErrorPolicy;
  /** Open the source for writing, for a writer inside this program. */
  readonly writableSource?: boolean;
}
