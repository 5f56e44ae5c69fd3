import { SUBCLUSTERS, type Geometry } from "../format/geometry.ts";
import { ClusterType, clusterType, hostOffsetOf, subclusterType } from "../format/l2-entry.ts";
import type { L2Slice } from "../metadata/l2-slice.ts";

/** A run of guest bytes of one kind, as a reader sees it; reused from run to run. */
export class ReadRun {
  type: ClusterType = ClusterType.Invalid;
  /** Where the first byte of the run is stored, or would be; for `Normal`, `ZeroAllocated` and `UnallocatedReserved`. */
  host = 0;
  /** Guest offset where the run ends: at most the end asked for, and the end of the slice. */
  end = 0;
}

/** Types of clusters and subclusters that have a place on the host. */
const HOSTED: ReadonlySet<ClusterType> = new Set([
  ClusterType.Normal,
  ClusterType.ZeroAllocated,
  ClusterType.UnallocatedReserved,
]);

/**
 * Finds how `[offset, end)` begins: the longest run of one type that is also contiguous on the host where it has a place
 * there. It never crosses the slice, and a compressed run is one cluster.
 */
export function findReadRun(
  slice: L2Slice,
  geometry: Geometry,
  dataFile: boolean,
  offset: number,
  end: number,
  run: ReadRun,
): void {
  const { clusterSize, subclusterSize: unit, extendedL2 } = geometry;
  const perCluster = extendedL2 ? SUBCLUSTERS : 1;
  const stride = geometry.l2EntryBytes / 4;
  const sliceEnd = slice.guestOffset + (slice.words.length / stride) * clusterSize;
  const limit = Math.min(end, sliceEnd);
  let index = Math.floor((offset - slice.guestOffset) / unit);
  const start = slice.guestOffset + index * unit;
  const type = typeAt(slice, index, geometry, dataFile);
  run.type = type;
  run.host = 0;
  if (type === ClusterType.Compressed || type === ClusterType.Invalid) {
    run.end = Math.min(limit, geometry.clusterStart(offset) + clusterSize);
    return;
  }
  const hosted = HOSTED.has(type);
  const host = hosted ? hostAt(slice, index, perCluster, stride, unit) : 0;
  if (type === ClusterType.Normal && !isPlausible(host, start, geometry, dataFile)) {
    run.type = ClusterType.Invalid;
  }
  let at = start + unit;
  for (index += 1; at < limit; index += 1, at += unit) {
    if (typeAt(slice, index, geometry, dataFile) !== type) break;
    if (hosted && hostAt(slice, index, perCluster, stride, unit) !== host + (at - start)) break;
  }
  if (hosted) run.host = host + (offset - start);
  run.end = Math.min(at, limit);
}

function typeAt(slice: L2Slice, index: number, geometry: Geometry, dataFile: boolean): ClusterType {
  const { words } = slice;
  if (!geometry.extendedL2) {
    return clusterType(words[2 * index] ?? 0, words[2 * index + 1] ?? 0, dataFile, geometry.hasZeroFlag);
  }
  const at = 4 * Math.floor(index / SUBCLUSTERS);
  return subclusterType(
    words[at] ?? 0,
    words[at + 1] ?? 0,
    words[at + 2] ?? 0,
    words[at + 3] ?? 0,
    index % SUBCLUSTERS,
    dataFile,
  );
}

function hostAt(slice: L2Slice, index: number, perCluster: number, stride: number, unit: number): number {
  const entry = stride * Math.floor(index / perCluster);
  const cluster = hostOffsetOf(slice.words[entry] ?? 0, slice.words[entry + 1] ?? 0);
  return cluster + (index % perCluster) * unit;
}

/**
 * Clusters lie on cluster boundaries, and in a data file at their guest offset; offsets have 53 bits here. A subcluster
 * lies as far into its host cluster as it does into its guest cluster.
 */
function isPlausible(host: number, guest: number, { clusterSize }: Geometry, dataFile: boolean): boolean {
  if (!Number.isSafeInteger(host)) return false;
  return dataFile ? host === guest : host % clusterSize === guest % clusterSize;
}
