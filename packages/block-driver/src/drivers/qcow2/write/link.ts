import {
  COMPRESSED,
  COPIED,
  decodeCompressed,
  highWord,
  hostOffsetOf,
  lowWord,
  type CompressedRange,
} from "../format/l2-entry.ts";
import type { L2Slice } from "../metadata/l2-slice.ts";
import { subclusterMask } from "./write-run.ts";
import type { WriteState } from "./write-state.ts";

const ALL = 0xffff_ffff;

/**
 * Points the guest clusters of `[start, end)`, in one slice, to host clusters from `host` on, where their data is already;
 * `start` and `end` need not be aligned where the image has subclusters. What they pointed to before is released.
 */
export function linkClusters(
  state: WriteState,
  slice: L2Slice,
  start: number,
  end: number,
  host: number,
  punch: boolean,
): void {
  const { geometry, l2 } = state.image;
  const { clusterSize, subclusterSize, extendedL2 } = geometry;
  const stride = geometry.l2EntryBytes / 4;
  const { words } = slice;
  const first = Math.floor((start - slice.guestOffset) / clusterSize);
  let to = host;
  let index = first;
  for (let cluster = geometry.clusterStart(start); cluster < end; cluster += clusterSize, index += 1) {
    const at = stride * index;
    const oldHigh = words[at] ?? 0;
    const oldLow = words[at + 1] ?? 0;
    words[at] = (highWord(to) | COPIED) >>> 0;
    words[at + 1] = lowWord(to);
    if (extendedL2) {
      const wasCompressed = (oldHigh & COMPRESSED) !== 0;
      const mask = subclusterMask(
        Math.floor(Math.max(0, start - cluster) / subclusterSize),
        Math.ceil(Math.min(clusterSize, end - cluster) / subclusterSize),
      );
      const zero = wasCompressed ? 0 : (words[at + 2] ?? 0);
      const allocated = wasCompressed ? 0 : (words[at + 3] ?? 0);
      words[at + 2] = (zero & ~mask) >>> 0;
      words[at + 3] = (allocated | mask) >>> 0;
    }
    releaseEntry(state, oldHigh, oldLow, to, punch);
    to += clusterSize;
  }
  l2.markDirty(slice, stride * first, stride * index);
}

/** Makes a whole cluster read as zeroes without host space; or, where it has no backing, as if it was never written. */
export function unlinkCluster(
  state: WriteState,
  slice: L2Slice,
  index: number,
  leaves: "zero" | "nothing",
  punch: boolean,
): void {
  const { geometry, l2 } = state.image;
  const stride = geometry.l2EntryBytes / 4;
  const at = stride * index;
  const { words } = slice;
  const high = words[at] ?? 0;
  const low = words[at + 1] ?? 0;
  words[at] = 0;
  words[at + 1] = leaves === "zero" && !geometry.extendedL2 ? 1 : 0;
  if (geometry.extendedL2) {
    words[at + 2] = leaves === "zero" ? ALL : 0;
    words[at + 3] = 0;
  }
  l2.markDirty(slice, at, at + stride);
  releaseEntry(state, high, low, -1, punch);
}

const compressedRange: CompressedRange = { offset: 0, length: 0, sectorStart: 0 };

/** Releases the host clusters that an entry referred to, unless it is the one it refers to now. */
function releaseEntry(state: WriteState, high: number, low: number, kept: number, punch: boolean): void {
  const { geometry, hasDataFile } = state.image;
  const { clusterSize } = geometry;
  // An external data file is not counted: guest data is always at its own place there.
  if (hasDataFile) return;
  if ((high & COMPRESSED) !== 0) {
    if (!decodeCompressed(high, low, geometry, compressedRange)) {
      throw state.fence.corrupt("a compressed cluster is stored beyond every possible offset");
    }
    const { sectorStart, offset, length } = compressedRange;
    const first = Math.floor(sectorStart / clusterSize);
    // Every compressed cluster counts once in each host cluster it touches, so their references end one by one.
    for (let cluster = first; cluster * clusterSize < offset + length; cluster += 1) {
      state.released.add(cluster, 1, punch);
    }
    return;
  }
  const host = hostOffsetOf(high, low);
  if (host === 0 || host === kept) return;
  if (host % clusterSize !== 0) {
    throw state.fence.corrupt(`the data cluster at offset 0x${host.toString(16)} is not aligned`, host);
  }
  state.released.add(host / clusterSize, 1, punch);
}
