import { ExtentFlag, type ExtentList } from "@blockmirror/block-driver";

/** The metadata context that tells data from holes and zeroes. */
export const ALLOCATION_CONTEXT = "base:allocation";

/** Set where the export reads as zeroes (NBD protocol, `base:allocation`). */
const STATE_ZERO = 2;

/**
 * Appends an extent of `base:allocation`. A hole that need not read as zeroes has unknown content, and is data to us.
 * @returns false when the list is full.
 */
export function appendExtent(extents: ExtentList, length: number, state: number): boolean {
  return extents.append(length, (state & STATE_ZERO) === 0 ? ExtentFlag.Data : ExtentFlag.Zero);
}
