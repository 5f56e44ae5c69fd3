import { isPromise, type IoVec } from "../../../contract/io.ts";
import { zeroVector } from "../../../io/zero-page.ts";
import { SUBCLUSTERS } from "../format/geometry.ts";
import { ClusterType, clusterType, COMPRESSED } from "../format/l2-entry.ts";
import type { Image } from "../image.ts";
import type { L2Slice } from "../metadata/l2-slice.ts";
import { subclusterMask, WriteAction } from "./write-run.ts";
import type { WriteState } from "./write-state.ts";

/** Both ends are read at once when no more than this lies between them. */
const READ_TOGETHER = 16 * 1024;

/** What of the first and the last cluster of a run becomes data together with what the guest writes. */
export interface CopiedEnds {
  /** Guest offset, at or before the write: from here on the host cluster holds data. */
  readonly start: number;
  /** Guest offset, at or behind the end of the write. */
  readonly end: number;
  /** What lies before or behind the write reads as zeroes anyway. */
  readonly zeroHead: boolean;
  readonly zeroTail: boolean;
  /** One of the ends is stored compressed: reading it twice would inflate it twice. */
  readonly readTogether: boolean;
}

/**
 * How far a write of `[offset, end)` has to be widened, since host clusters hold data in whole clusters, or in whole
 * subclusters where the image has them (qcow2 specification, "Extended L2 Entries").
 */
export function copiedEnds(
  image: Image,
  slice: L2Slice,
  action: WriteAction,
  offset: number,
  end: number,
): CopiedEnds {
  const { geometry } = image;
  const firstCluster = geometry.clusterStart(offset);
  const lastCluster = geometry.clusterStart(end - 1);
  const head = spanOf(
    image,
    slice,
    action,
    firstCluster,
    offset,
    Math.min(end, firstCluster + geometry.clusterSize),
  );
  const tail =
    lastCluster === firstCluster ? head : spanOf(image, slice, action, lastCluster, lastCluster, end);
  return {
    start: head.start,
    end: tail.end,
    zeroHead: head.start === offset || readsZero(image, slice, head.start, offset),
    zeroTail: tail.end === end || readsZero(image, slice, end, tail.end),
    readTogether: head.compressed && head === tail,
  };
}

/** The part of one cluster that becomes data when `[from, to)` of it is written. */
function spanOf(
  image: Image,
  slice: L2Slice,
  action: WriteAction,
  cluster: number,
  from: number,
  to: number,
): { readonly start: number; readonly end: number; readonly compressed: boolean } {
  const { geometry } = image;
  const { clusterSize, subclusterSize } = geometry;
  const stride = geometry.l2EntryBytes / 4;
  const at = stride * Math.floor((cluster - slice.guestOffset) / clusterSize);
  const high = slice.words[at] ?? 0;
  const compressed = (high & COMPRESSED) !== 0;
  if (!geometry.extendedL2 || compressed) return { start: cluster, end: cluster + clusterSize, compressed };
  const allocated = slice.words[at + 3] ?? 0;
  let first = Math.floor((from - cluster) / subclusterSize);
  let last = Math.ceil((to - cluster) / subclusterSize) - 1;
  if (action === WriteAction.Fill) {
    // A subcluster that is data already keeps what lies beside the write.
    const has = (index: number): boolean => ((allocated >>> index) & 1) === 1;
    return {
      start: has(first) ? from : cluster + first * subclusterSize,
      end: has(last) ? to : cluster + (last + 1) * subclusterSize,
      compressed,
    };
  }
  if (allocated !== 0) {
    // All data moves to the new cluster, and what lies between becomes data too.
    first = Math.min(first, 31 - Math.clz32(allocated & -allocated));
    last = Math.max(last, 31 - Math.clz32(allocated));
  }
  return { start: cluster + first * subclusterSize, end: cluster + (last + 1) * subclusterSize, compressed };
}

/** Whether `[from, to)`, within one cluster, is known to read as zeroes without reading it. */
export function readsZero(
  image: Image,
  slice: L2Slice,
  from: number,
  to: number,
  unallocatedIsZero: boolean = image.backing === undefined || from >= image.backing.info.size,
): boolean {
  const { geometry } = image;
  const stride = geometry.l2EntryBytes / 4;
  const cluster = geometry.clusterStart(from);
  const at = stride * Math.floor((cluster - slice.guestOffset) / geometry.clusterSize);
  const high = slice.words[at] ?? 0;
  const low = slice.words[at + 1] ?? 0;
  if (!geometry.extendedL2) {
    const type = clusterType(high, low, image.hasDataFile);
    if (type === ClusterType.ZeroPlain || type === ClusterType.ZeroAllocated) return true;
    return type === ClusterType.Unallocated && unallocatedIsZero;
  }
  if ((high & COMPRESSED) !== 0) return false;
  const mask = subclusterMask(
    Math.floor((from - cluster) / geometry.subclusterSize),
    Math.min(SUBCLUSTERS, Math.ceil((to - cluster) / geometry.subclusterSize)),
  );
  if (((slice.words[at + 3] ?? 0) & mask) !== 0) return false;
  return unallocatedIsZero || ((slice.words[at + 2] ?? 0) & mask) >>> 0 === mask;
}

/** The vector to write, and the guest offset where it belongs. */
export interface WidenedWrite {
  readonly start: number;
  readonly vector: IoVec;
}

/**
 * The guest's data with what has to be copied around it, as one vector. `fresh` says that the host clusters read as zeroes
 * already, so that zeroes need not be written.
 */
export async function widen(
  state: WriteState,
  ends: CopiedEnds,
  offset: number,
  end: number,
  data: IoVec,
  fresh: boolean,
): Promise<WidenedWrite> {
  const { hasDataFile, virtualSize } = state.image;
  const headLength = offset - ends.start;
  // A data file ends with the disk; a host cluster of the image is there as a whole.
  const tailLength = Math.max(0, (hasDataFile ? Math.min(ends.end, virtualSize) : ends.end) - end);
  let start = offset;
  let head: IoVec = [];
  let tail: IoVec = [];
  const readHead = headLength > 0 && !ends.zeroHead;
  const readTail = tailLength > 0 && !ends.zeroTail;
  if (readHead && readTail && (ends.readTogether || end - offset <= READ_TOGETHER)) {
    const whole = await readOld(state, ends.start, end + tailLength - ends.start);
    head = [whole.subarray(0, headLength)];
    tail = [whole.subarray(end - ends.start)];
  } else {
    const readingHead = readHead ? readOld(state, ends.start, headLength) : undefined;
    const readingTail = readTail ? readOld(state, end, tailLength) : undefined;
    // Both must have an end before anybody gives up.
    await Promise.allSettled([readingHead, readingTail]);
    if (readingHead !== undefined) head = [await readingHead];
    if (readingTail !== undefined) tail = [await readingTail];
  }
  if (headLength > 0 && ends.zeroHead && !fresh) head = zeroVector(headLength);
  if (tailLength > 0 && ends.zeroTail && !fresh) tail = zeroVector(tailLength);
  if (head.length > 0) start = ends.start;
  if (head.length === 0 && tail.length === 0) return { start, vector: data };
  return { start, vector: [...head, ...data, ...tail] };
}

/** What a guest would read now; beyond the end of the disk there is nothing. */
async function readOld(state: WriteState, offset: number, length: number): Promise<Uint8Array> {
  const buffer = Buffer.allocUnsafeSlow(length);
  const inside = Math.max(0, Math.min(length, state.image.virtualSize - offset));
  buffer.fill(0, inside);
  if (inside > 0) {
    state.copiedBytes += inside;
    const read = state.readGuest(offset, [inside === length ? buffer : buffer.subarray(0, inside)]);
    if (isPromise(read)) await read;
  }
  return buffer;
}
