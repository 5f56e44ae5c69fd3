import { ExtentFlag, type ExtentList } from "../../../contract/extents.ts";
import { isPromise, type MaybePromise } from "../../../contract/io.ts";
import { ClusterType } from "../format/l2-entry.ts";
import type { Image } from "../image.ts";
import { findReadRun, ReadRun } from "../mapping/read-run.ts";
import { endOfUnmapped } from "../mapping/unmapped.ts";

/**
 * Describes `[offset, offset + length)` into `extents`. Answers without a promise as far as tables are in memory; it stops
 * there if it has anything to say, and loads the next table otherwise.
 */
export function describeRange(
  image: Image,
  offset: number,
  length: number,
  extents: ExtentList,
): MaybePromise<void> {
  extents.reset(offset);
  const end = Math.min(offset + length, image.virtualSize);
  return describeFrom(image, end, extents, new ReadRun());
}

function describeFrom(image: Image, end: number, extents: ExtentList, run: ReadRun): MaybePromise<void> {
  const { geometry, hasDataFile } = image;
  while (extents.next < end) {
    const at = extents.next;
    // What comes before a bad table is fine, and is told first.
    if (extents.count > 0 && !image.l2.isSound(at)) return undefined;
    const slice = image.l2.get(at);
    if (slice === undefined) {
      if (!extents.append(endOfUnmapped(image, at, end) - at, ExtentFlag.Deferred)) return undefined;
      continue;
    }
    if (isPromise(slice)) {
      if (extents.count > 0) {
        slice.catch(() => {});
        return undefined;
      }
      return slice.then(() => describeFrom(image, end, extents, run));
    }
    findReadRun(slice, geometry, hasDataFile, at, end, run);
    if (run.type === ClusterType.Invalid) {
      if (extents.count > 0) return undefined;
      throw image.corrupt(`the mapping of guest offset 0x${at.toString(16)} is invalid`, at);
    }
    if (!extents.append(run.end - at, FLAGS[run.type], run.host)) return undefined;
  }
  return undefined;
}

const FLAGS: Readonly<Record<Exclude<ClusterType, typeof ClusterType.Invalid>, number>> = {
  [ClusterType.Unallocated]: ExtentFlag.Deferred,
  [ClusterType.UnallocatedReserved]: ExtentFlag.Deferred,
  [ClusterType.ZeroPlain]: ExtentFlag.Zero,
  [ClusterType.ZeroAllocated]: ExtentFlag.Zero | ExtentFlag.HostOffset,
  [ClusterType.Normal]: ExtentFlag.Data | ExtentFlag.HostOffset,
  [ClusterType.Compressed]: ExtentFlag.Data | ExtentFlag.Compressed,
};
