import type { BlockChild, IoOptions } from "../../../contract/device.ts";
import { iovLength, iovSlice, iovZero, type IoVec, type MaybePromise } from "../../../contract/io.ts";

/**
 * Reads from the file below; what lies beyond its end reads as zeroes. Images rely on it: a table or a cluster at the
 * end of the file need not be there in full (qcow2 specification, "Cluster mapping"; sparse and preallocated images).
 */
export function readHost(
  file: BlockChild,
  offset: number,
  into: IoVec,
  options?: IoOptions,
): MaybePromise<void> {
  const length = iovLength(into);
  const inside = Math.max(0, Math.min(length, file.info.size - offset));
  if (inside === length) return file.read(offset, into, options);
  iovZero(iovSlice(into, inside, length - inside));
  return inside === 0 ? undefined : file.read(offset, iovSlice(into, 0, inside), options);
}
