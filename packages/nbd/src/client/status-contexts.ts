import { ExtentFlag, type ExtentList } from "@blockmirror/block-driver";
import { AllocationFlag, BASE_ALLOCATION, DIRTY_BITMAP_PREFIX } from "../protocol/constants.ts";

/** Place of `base:allocation` in the contexts of a connection; those of dirty bitmaps follow in the order of their names. */
export const ALLOCATION = 0;

/** The metadata contexts that a connection asks for: what tells data from zeroes, and the server's bitmaps of these names. */
export function contextNames(bitmaps: readonly string[]): readonly string[] {
  return [BASE_ALLOCATION, ...bitmaps.map((name) => DIRTY_BITMAP_PREFIX + name)];
}

/** Set where a range was written since the bitmap was enabled (QEMU, "qemu:dirty-bitmap"). */
const STATE_DIRTY = 1;

/**
 * Appends an extent of a context. Of `base:allocation`, a hole that need not read as zeroes has unknown content, and is data to
 * us. Of a dirty bitmap, what is dirty is data, and all else is somebody else's.
 * @returns false when the list is full.
 */
export function appendExtent(extents: ExtentList, context: number, length: number, state: number): boolean {
  if (context === ALLOCATION) {
    return extents.append(length, (state & AllocationFlag.Zero) === 0 ? ExtentFlag.Data : ExtentFlag.Zero);
  }
  return extents.append(length, (state & STATE_DIRTY) === 0 ? ExtentFlag.Deferred : ExtentFlag.Data);
}
