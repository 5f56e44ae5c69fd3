/** Shape of a new `HBitmap`. */
export interface HBitmapOptions {
  /** Items tracked, 0..2^53-1; bytes when the bitmap follows a disk. */
  readonly size: number;
  /** Items per bit: a power of two, 1..2^52. Default 1. A disk tracked in 64 KiB chunks has 65536. */
  readonly granularity?: number;
}

/** A run of dirty items: `start` to `start + length - 1`. Reusable as the result of `HBitmap.nextDirtyArea`. */
export interface DirtyArea {
  start: number;
  length: number;
}

/** What `HBitmap.status` answers; reusable as its result. */
export interface DirtyStatus {
  dirty: boolean;
  length: number;
}
