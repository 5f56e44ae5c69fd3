import { SUBCLUSTERS, type Geometry } from "../format/geometry.ts";
import { ClusterType, clusterType, COPIED, hostOffsetOf, subclusterType } from "../format/l2-entry.ts";
import type { L2Slice } from "../metadata/l2-slice.ts";

/** What has to be done to write guest clusters. */
export const WriteAction = {
  /** They are stored, and nobody else uses them: write, nothing else. */
  InPlace: 0,
  /** They have host space of their own that does not count as data yet: write whole units and link. */
  Fill: 1,
  /** They need other host clusters: allocate, write, link. */
  Allocate: 2,
  /** The mapping contradicts itself. */
  Invalid: 3,
} as const;

/** One of {@link WriteAction}. */
export type WriteAction = (typeof WriteAction)[keyof typeof WriteAction];

/** A run of guest bytes that are written in one way; reused from run to run. */
export class WriteRun {
  action: WriteAction = WriteAction.Invalid;
  /** Host offset of the cluster that holds the first byte; for `InPlace` and `Fill`. */
  host = 0;
  /** Guest offset where the run ends: at most the end asked for, and the end of the slice. */
  end = 0;
}

/**
 * Finds how `[offset, end)` begins: the longest run of one kind, contiguous on the host where the host clusters stay. It never
 * crosses the slice.
 */
export function findWriteRun(
  slice: L2Slice,
  geometry: Geometry,
  dataFile: boolean,
  offset: number,
  end: number,
  run: WriteRun,
): void {
  const { clusterSize } = geometry;
  const stride = geometry.l2EntryBytes / 4;
  const coverage = (slice.words.length / stride) * clusterSize;
  const limit = Math.min(end, slice.guestOffset + coverage);
  let index = Math.floor((offset - slice.guestOffset) / clusterSize);
  const start = slice.guestOffset + index * clusterSize;
  run.action = actionOf(slice, index, geometry, dataFile, offset - start, limit - start);
  run.host = hostOf(slice, index, stride);
  let at = start + clusterSize;
  if (run.action !== WriteAction.Invalid && !isPlausible(run, start, clusterSize, dataFile)) {
    run.action = WriteAction.Invalid;
  }
  if (run.action !== WriteAction.Invalid) {
    for (index += 1; at < limit; index += 1, at += clusterSize) {
      if (actionOf(slice, index, geometry, dataFile, 0, limit - at) !== run.action) break;
      if (run.action !== WriteAction.Allocate && hostOf(slice, index, stride) !== run.host + (at - start))
        break;
    }
  }
  run.end = Math.min(at, limit);
}

function isPlausible(run: WriteRun, guest: number, clusterSize: number, dataFile: boolean): boolean {
  if (run.action === WriteAction.Allocate) return true;
  return dataFile ? run.host === guest : run.host % clusterSize === 0;
}

function hostOf(slice: L2Slice, index: number, stride: number): number {
  return hostOffsetOf(slice.words[stride * index] ?? 0, slice.words[stride * index + 1] ?? 0);
}

/** How a write to bytes `[from, to)` of a cluster goes; `to` may lie beyond its end. */
function actionOf(
  slice: L2Slice,
  index: number,
  geometry: Geometry,
  dataFile: boolean,
  from: number,
  to: number,
): WriteAction {
  const { words } = slice;
  if (geometry.extendedL2) return extendedAction(slice, index, geometry, dataFile, from, to);
  const high = words[2 * index] ?? 0;
  const copied = (high & COPIED) !== 0;
  switch (clusterType(high, words[2 * index + 1] ?? 0, dataFile, geometry.hasZeroFlag)) {
    case ClusterType.Normal:
      return copied ? WriteAction.InPlace : WriteAction.Allocate;
    case ClusterType.ZeroAllocated:
      return copied ? WriteAction.Fill : WriteAction.Allocate;
    case ClusterType.Invalid:
      return WriteAction.Invalid;
    default:
      return WriteAction.Allocate;
  }
}

function extendedAction(
  slice: L2Slice,
  index: number,
  geometry: Geometry,
  dataFile: boolean,
  from: number,
  to: number,
): WriteAction {
  const { words } = slice;
  const at = 4 * index;
  const high = words[at] ?? 0;
  const low = words[at + 1] ?? 0;
  const allocated = words[at + 3] ?? 0;
  const type = subclusterType(high, low, words[at + 2] ?? 0, allocated, 0, dataFile);
  if (type === ClusterType.Invalid) return WriteAction.Invalid;
  if (type === ClusterType.Compressed || (high & COPIED) === 0) return WriteAction.Allocate;
  // COPIED means that there is a host cluster; with a data file even at offset 0.
  if (!dataFile && hostOffsetOf(high, low) === 0) return WriteAction.Allocate;
  const touched = subclusterMask(
    Math.floor(from / geometry.subclusterSize),
    Math.min(SUBCLUSTERS, Math.ceil(to / geometry.subclusterSize)),
  );
  return (allocated & touched) >>> 0 === touched ? WriteAction.InPlace : WriteAction.Fill;
}

/** The bits of subclusters `[first, end)`. */
export function subclusterMask(first: number, end: number): number {
  return (bitsBelow(end) - bitsBelow(first)) >>> 0;
}

function bitsBelow(count: number): number {
  return count >= 32 ? 0xffff_ffff : 2 ** count - 1;
}
