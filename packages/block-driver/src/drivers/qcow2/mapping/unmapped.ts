import type { Image } from "../image.ts";

/**
 * Guest offset where the part without L2 tables that begins at `offset` ends, at most `end`: one L1 entry of zero stands
 * for as many bytes as a table maps, and none of them costs a read.
 */
export function endOfUnmapped({ l1, geometry }: Image, offset: number, end: number): number {
  let index = Math.floor(offset / geometry.l2Coverage) + 1;
  while (index * geometry.l2Coverage < end && l1.offsetOf(index) === 0) index += 1;
  return Math.min(end, index * geometry.l2Coverage);
}
