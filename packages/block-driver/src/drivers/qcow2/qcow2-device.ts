import type { BitmapStore } from "../../contract/bitmap-store.ts";
import {
  BYTE_ALIGNMENT,
  READ_ONLY_CAPABILITIES,
  type BlockDevice,
  type Borrower,
  type DeviceInfo,
  type IoOptions,
  type NamedBacking,
  type ResizeOptions,
  type StatusOptions,
  type WriteOptions,
  type ZeroOptions,
} from "../../contract/device.ts";
import type { ExtentList } from "../../contract/extents.ts";
import type { IoVec, MaybePromise } from "../../contract/io.ts";
import type { PersistentBitmaps } from "./bitmaps/persistent-bitmaps.ts";
import { describeImage } from "./describe-image.ts";
import type { Image } from "./image.ts";
import { ReadEpochs } from "./metadata/read-epochs.ts";
import type { OpenedImage } from "./open-image.ts";
import { Reader } from "./read/reader.ts";
import { describeRange } from "./read/status.ts";
import { StorageHoles } from "./read/storage-holes.ts";
import { countsRequests, type Qcow2Stats } from "./stats.ts";
import { Writer } from "./write/writer.ts";

/** Requests are best as large as this, or as a cluster where that is larger. */
const OPTIMAL_BYTES = 1024 * 1024;

/** An open qcow2 image. Methods that change it are there when it was opened for writing. */
export class Qcow2Device implements BlockDevice {
  readonly bitmaps: BitmapStore;
  declare readonly write?: NonNullable<BlockDevice["write"]>;
  declare writeZeroes?: NonNullable<BlockDevice["writeZeroes"]>;
  declare discard?: NonNullable<BlockDevice["discard"]>;
  declare readonly flush?: NonNullable<BlockDevice["flush"]>;
  declare readonly changeBackingFile?: NonNullable<BlockDevice["changeBackingFile"]>;
  declare readonly resize?: NonNullable<BlockDevice["resize"]>;
  declare readonly copyRange?: NonNullable<BlockDevice["copyRange"]>;

  readonly #opened: OpenedImage;
  readonly #image: Image;
  readonly #reader: Reader;
  readonly #holes: StorageHoles;
  readonly #writer: Writer | undefined;
  readonly #bitmaps: PersistentBitmaps;
  #closing: Promise<void> | undefined;
  #info: DeviceInfo;

  constructor(opened: OpenedImage, readOnly: boolean) {
    const { image, bitmaps } = opened;
    this.#opened = opened;
    this.#image = image;
    this.#bitmaps = bitmaps;
    this.#holes = new StorageHoles(image);
    this.bitmaps = bitmaps;
    const epochs = new ReadEpochs();
    this.#reader = new Reader(image, readOnly ? undefined : epochs);
    if (!readOnly) {
      const writer = new Writer({
        image,
        epochs,
        readGuest: (offset, into) => this.#reader.read(offset, into),
      });
      this.#writer = writer;
      image.corrupt = (what, offset) => writer.state.fence.corrupt(what, offset);
      bitmaps.follow(writer.state);
      this.write = (offset: number, from: IoVec, options?: WriteOptions) =>
        writer.write(offset, from, options);
      this.copyRange = (offset, storage, sourceOffset, length) =>
        writer.copyRange(offset, storage, sourceOffset, length);
      this.#offerUnmap(writer);
      this.flush = () => writer.flush();
      this.changeBackingFile = (backing) => this.#changeBackingFile(writer, backing);
      if (canResize(image)) this.resize = (size, options) => this.#resize(writer, size, options);
    }
    this.#info = this.#describe();
    countsRequests(this, () => this.#stats());
  }

  get info(): DeviceInfo {
    return this.#info;
  }

  read(offset: number, into: IoVec, options?: IoOptions): MaybePromise<void> {
    this.#writer?.state.fence.check();
    return this.#reader.read(offset, into, options);
  }

  lend(offset: number, length: number, borrow: Borrower): Promise<number> {
    this.#writer?.state.fence.check();
    return this.#reader.lend(offset, length, borrow);
  }

  status(offset: number, length: number, extents: ExtentList, options?: StatusOptions): MaybePromise<void> {
    this.#writer?.state.fence.check();
    return describeRange(this.#image, this.#holes, offset, length, extents, options);
  }

  /** What was asked of the files below so far. */
  #stats(): Qcow2Stats {
    const state = this.#writer?.state;
    return {
      read: { ...this.#reader.counters },
      tableReads: this.#image.l2.reads,
      write: state === undefined ? undefined : { ...state.file.counters },
      dataWrite: state === undefined || state.data === state.file ? undefined : { ...state.data.counters },
      copiedBytes: state?.copiedBytes ?? 0,
    };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    try {
      await this.#bitmaps.store();
    } finally {
      await this.#writer?.close();
    }
  }

  async #resize(writer: Writer, size: number, options?: ResizeOptions): Promise<void> {
    this.#bitmaps.mustBeResizable();
    try {
      await writer.resize(size, options);
    } finally {
      // A disk that became smaller is so, whatever failed afterwards: what is written behind its end would be lost.
      this.#info = this.#describe();
    }
  }

  async #changeBackingFile(writer: Writer, backing: NamedBacking | null): Promise<void> {
    await writer.changeBackingFile(backing);
    this.#offerUnmap(writer);
    this.#info = this.#describe();
  }

  #offerUnmap(writer: Writer): void {
    if (canUnmap(this.#image)) {
      this.writeZeroes = (offset: number, length: number, options?: ZeroOptions) =>
        writer.writeZeroes(offset, length, options);
      this.discard = (offset: number, length: number) => writer.discard(offset, length);
    } else {
      delete this.writeZeroes;
      delete this.discard;
    }
  }

  #describe(): DeviceInfo {
    const { head, snapshots } = this.#opened;
    const { file, geometry, virtualSize, header, backingName, backingFormat } = this.#image;
    const { allocatedSize, filename } = file.info;
    const writable = this.#writer !== undefined;
    return {
      driver: "qcow2",
      label: file.info.label,
      size: virtualSize,
      readOnly: !writable,
      align: {
        ...BYTE_ALIGNMENT,
        discard: geometry.clusterSize,
        allocation: geometry.subclusterSize,
        optimal: Math.max(OPTIMAL_BYTES, geometry.clusterSize),
      },
      max: { transfer: Number.MAX_SAFE_INTEGER, iovecs: Number.MAX_SAFE_INTEGER },
      can: {
        ...READ_ONLY_CAPABILITIES,
        status: "exact",
        lend: true,
        ...(writable && {
          write: true,
          fua: true,
          writeZeroes: this.writeZeroes === undefined ? "no" : "fast",
          unmap: this.writeZeroes !== undefined,
          discard: this.discard === undefined ? "no" : "zeroes",
          flush: true,
          copyRange: true,
          resize: this.resize === undefined ? "no" : "both",
        }),
      },
      ...(filename !== undefined && { filename }),
      ...(backingName !== undefined && {
        namedBacking: {
          filename: backingName,
          ...(backingFormat !== undefined && { format: backingFormat }),
        },
      }),
      ...(allocatedSize !== undefined && { allocatedSize }),
      details: describeImage(header, head, snapshots, this.#bitmaps.list()),
    };
  }
}

/** Version 2 cannot say "zero" of a cluster: one that is given up would let the backing file show through. */
function canUnmap({ header, backing, backingName }: Image): boolean {
  return header.version > 2 || (backing === undefined && backingName === undefined);
}

/** Version 2 does not record the size of the disk at each snapshot. */
function canResize({ header }: Image): boolean {
  return header.version > 2 || header.snapshotCount === 0;
}
