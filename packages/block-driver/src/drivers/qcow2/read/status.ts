import type { StatusOptions } from "../../../contract/device.ts";
import { ExtentFlag, type ExtentList } from "../../../contract/extents.ts";
import { isPromise, type MaybePromise } from "../../../contract/io.ts";
import { ClusterType } from "../format/l2-entry.ts";
import type { Image } from "../image.ts";
import { findReadRun, ReadRun } from "../mapping/read-run.ts";
import { endOfUnmapped } from "../mapping/unmapped.ts";
import type { StorageHoles } from "./storage-holes.ts";

/**
 * Describes `[offset, offset + length)` into `extents`. Answers without a promise as far as tables are in memory; it stops
 * there if it has anything to say, and loads the next table otherwise.
 */
export function describeRange(
  image: Image,
  holes: StorageHoles,
  offset: number,
  length: number,
  extents: ExtentList,
  options?: StatusOptions,
): MaybePromise<void> {
  extents.reset(offset);
  const end = Math.min(offset + length, image.virtualSize);
  const description = new Description(image, holes, end, extents, options);
  if (holes.areToBeAsked === undefined) return holes.find().then(() => description.goOn());
  return description.goOn();
}

/** One answer in the making. */
class Description {
  readonly #image: Image;
  readonly #holes: StorageHoles;
  readonly #end: number;
  readonly #extents: ExtentList;
  readonly #options: StatusOptions | undefined;
  readonly #run = new ReadRun();

  constructor(
    image: Image,
    holes: StorageHoles,
    end: number,
    extents: ExtentList,
    options: StatusOptions | undefined,
  ) {
    this.#image = image;
    this.#holes = holes;
    this.#end = end;
    this.#extents = extents;
    this.#options = options;
  }

  goOn(): MaybePromise<void> {
    const image = this.#image;
    const extents = this.#extents;
    const run = this.#run;
    const end = this.#end;
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
        return slice.then(() => this.goOn());
      }
      findReadRun(slice, image.geometry, image.hasDataFile, at, end, run);
      if (run.type === ClusterType.Invalid) {
        if (extents.count > 0) return undefined;
        throw image.corrupt(`the mapping of guest offset 0x${at.toString(16)} is invalid`, at);
      }
      if (run.type === ClusterType.Normal && this.#holes.areToBeAsked === true) {
        const asked = this.#askStorage(run.host, run.end - at);
        if (isPromise(asked)) return asked.then((goesOn) => (goesOn ? this.goOn() : undefined));
        if (!asked) return undefined;
      } else if (!extents.append(run.end - at, FLAGS[run.type], run.host)) return undefined;
    }
    return undefined;
  }

  /** Appends what the file has of a run of data clusters, or a first part of it; false when there was no room. */
  #askStorage(host: number, length: number): MaybePromise<boolean> {
    const { data } = this.#image;
    // At the end of the file a cluster need not be there in full.
    const stored = Math.min(length, Math.max(0, data.info.size - host));
    if (stored === 0) return this.#extents.append(length, HOLLOW, host);
    const list = this.#holes.takeList();
    const take = (): boolean => {
      list.clip(host + stored);
      let hasRoom = true;
      for (let index = 0; index < list.count && hasRoom; index += 1) {
        const isHole = (list.flagsAt(index) & ExtentFlag.Zero) !== 0;
        const flags = isHole ? HOLLOW : FLAGS[ClusterType.Normal];
        hasRoom = this.#extents.append(list.lengthAt(index), flags, list.offsetAt(index));
      }
      this.#holes.giveList(list);
      return hasRoom;
    };
    const answer = data.status(host, stored, list, this.#options);
    return isPromise(answer) ? answer.then(take) : take();
  }
}

const HOLLOW: number = ExtentFlag.Zero | ExtentFlag.HostOffset | ExtentFlag.Hollow;

const FLAGS: Readonly<Record<Exclude<ClusterType, typeof ClusterType.Invalid>, number>> = {
  [ClusterType.Unallocated]: ExtentFlag.Deferred,
  [ClusterType.UnallocatedReserved]: ExtentFlag.Deferred | ExtentFlag.HostOffset,
  [ClusterType.ZeroPlain]: ExtentFlag.Zero,
  [ClusterType.ZeroAllocated]: ExtentFlag.Zero | ExtentFlag.HostOffset,
  [ClusterType.Normal]: ExtentFlag.Data | ExtentFlag.HostOffset,
  [ClusterType.Compressed]: ExtentFlag.Data | ExtentFlag.Compressed,
};
