import type { DirtyBitmap } from "@blockmirror/block-driver";
import type { CopyEngine } from "./copy-engine.ts";

/**
 * A picture of the disk in cells of equal size: which share of each cell, 0 to 1, is in what state. A chunk can be dirty
 * and in flight at once, so the shares need not add up to 1.
 */
export interface DiskMap {
  readonly cellCount: number;
  /** Equal to the source since it was last written. */
  readonly copied: Float32Array;
  readonly dirty: Float32Array;
  readonly inFlight: Float32Array;
  /** The last operation there failed. */
  readonly failed: Float32Array;
}

/** An empty map of `cellCount` cells, for reuse with {@link drawDiskMap}. */
export function createDiskMap(cellCount: number): DiskMap {
  return {
    cellCount,
    copied: new Float32Array(cellCount),
    dirty: new Float32Array(cellCount),
    inFlight: new Float32Array(cellCount),
    failed: new Float32Array(cellCount),
  };
}

/** Fills `map` from the bitmaps of a job. Cells have whole bytes, so the last may be shorter. Cells beyond the end of the disk stay 0. */
export function drawDiskMap(map: DiskMap, size: number, dirty: DirtyBitmap, engine: CopyEngine): DiskMap {
  const cellSize = Math.max(1, Math.ceil(size / map.cellCount));
  for (let cell = 0; cell < map.cellCount; cell += 1) {
    const offset = cell * cellSize;
    const length = Math.min(cellSize, size - offset);
    if (length <= 0) {
      map.copied[cell] = 0;
      map.dirty[cell] = 0;
      map.inFlight[cell] = 0;
      map.failed[cell] = 0;
      continue;
    }
    const dirtyShare = dirty.bits.countRange(offset, length) / length;
    const inFlightShare = engine.inFlight.bytesIn(offset, length) / length;
    map.dirty[cell] = dirtyShare;
    map.inFlight[cell] = inFlightShare;
    map.failed[cell] = engine.failed.isEmpty ? 0 : engine.failed.countRange(offset, length) / length;
    map.copied[cell] = Math.max(0, 1 - dirtyShare - inFlightShare);
  }
  return map;
}
