import { SUBCLUSTERS } from "../format/geometry.ts";
import { ClusterType, clusterType, COMPRESSED, COPIED, hostOffsetOf, ZERO } from "../format/l2-entry.ts";
import type { L2Slice } from "../metadata/l2-slice.ts";
import { unlinkCluster } from "./link.ts";
import { subclusterMask } from "./write-run.ts";
import type { WriteState } from "./write-state.ts";

/** What is to become of clusters that are zeroed or not needed any more. */
export const ZeroMode = {
  /** Reads as zeroes; host space stays reserved. */
  Keep: 0,
  /** Reads as zeroes; host space is given back. */
  Unmap: 1,
  /** As `Unmap`, but what was never written stays so where it reads as zeroes anyway. */
  Discard: 2,
  /** As if it was never written: behind the end of a disk that was made smaller. */
  Drop: 3,
} as const;

/** One of {@link ZeroMode}. */
export type ZeroMode = (typeof ZeroMode)[keyof typeof ZeroMode];

/** Nothing shows through unallocated clusters, now or when the image is opened with the backing file it names. */
export function unallocatedIsZero({ image }: WriteState): boolean {
  return image.backing === undefined && image.backingName === undefined;
}

/**
 * Zeroes the part `[from, to)` of a cluster, whole subclusters or the whole cluster, in its entry (qcow2 specification,
 * "Cluster mapping"). False when an entry cannot say that: then zeroes have to be written.
 */
export function zeroEntry(
  state: WriteState,
  slice: L2Slice,
  index: number,
  mode: ZeroMode,
  from: number,
  to: number,
): boolean {
  const { geometry, header } = state.image;
  const punch = mode !== ZeroMode.Keep;
  const stride = geometry.l2EntryBytes / 4;
  const at = stride * index;
  const high = slice.words[at] ?? 0;
  const low = slice.words[at + 1] ?? 0;
  if (mode === ZeroMode.Drop || header.version < 3) {
    // Version 2 cannot say zero; without a backing file it need not.
    if (high !== 0 || low !== 0 || isMarked(slice, at, stride))
      unlinkCluster(state, slice, index, "nothing", punch);
    return true;
  }
  if (geometry.extendedL2) return zeroExtended(state, slice, index, mode, from, to);
  switch (clusterType(high, low, state.image.hasDataFile)) {
    case ClusterType.Unallocated:
      if (unallocatedIsZero(state)) return true;
      break;
    case ClusterType.ZeroPlain:
      return true;
    case ClusterType.ZeroAllocated:
      if (mode === ZeroMode.Keep) return true;
      break;
    case ClusterType.Normal:
      if (mode !== ZeroMode.Keep) break;
      slice.words[at + 1] = (low | ZERO) >>> 0;
      state.image.l2.markDirty(slice, at, at + stride);
      return true;
    default:
      break;
  }
  unlinkCluster(state, slice, index, "zero", punch);
  return true;
}

function zeroExtended(
  state: WriteState,
  slice: L2Slice,
  index: number,
  mode: ZeroMode,
  from: number,
  to: number,
): boolean {
  const { geometry, l2, hasDataFile } = state.image;
  const at = 4 * index;
  const high = slice.words[at] ?? 0;
  const low = slice.words[at + 1] ?? 0;
  const zero = slice.words[at + 2] ?? 0;
  const allocated = slice.words[at + 3] ?? 0;
  const compressed = (high & COMPRESSED) !== 0;
  const whole = from === 0 && to >= geometry.clusterSize;
  if (!whole && compressed) return false;
  const hosted = hostOffsetOf(high, low) !== 0 || (hasDataFile && (high & COPIED) !== 0);
  if (!compressed && !hosted && zero === 0 && unallocatedIsZero(state)) return true;
  if (whole && (compressed || (hosted && mode !== ZeroMode.Keep))) {
    unlinkCluster(state, slice, index, "zero", mode !== ZeroMode.Keep);
    return true;
  }
  const mask = subclusterMask(
    Math.floor(from / geometry.subclusterSize),
    Math.min(SUBCLUSTERS, Math.ceil(to / geometry.subclusterSize)),
  );
  if ((zero & mask) >>> 0 === mask) return true;
  slice.words[at + 2] = (zero | mask) >>> 0;
  slice.words[at + 3] = (allocated & ~mask) >>> 0;
  l2.markDirty(slice, at + 2, at + 4);
  return true;
}

function isMarked(slice: L2Slice, at: number, stride: number): boolean {
  return stride === 4 && ((slice.words[at + 2] ?? 0) !== 0 || (slice.words[at + 3] ?? 0) !== 0);
}
