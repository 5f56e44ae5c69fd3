import { DRIVER_CONTRACT_VERSION, type BlockDriver } from "../contract/driver.ts";
import type {
  BlockChild,
  BlockDevice,
  Borrower,
  DeviceInfo,
  IoOptions,
  ResizeOptions,
  StatusOptions,
  WriteOptions,
  ZeroOptions,
} from "../contract/device.ts";
import { ExtentFlag, ExtentList } from "../contract/extents.ts";
import { isPromise, type IoVec, type MaybePromise } from "../contract/io.ts";
import { option, optionSchema, type ChildReference } from "../contract/options.ts";
import { BlockError } from "../errors.ts";

/** Options of the `raw` driver. */
export interface RawOptions {
  /** What holds the bytes. */
  readonly file: ChildReference;
  /** First byte of the window into `file`. Default 0. */
  readonly offset: number | undefined;
  /** Length of the window in bytes. Default: to the end of `file`, and following it when it is resized. */
  readonly size: number | undefined;
}

/** Options for creating a raw image. */
export interface RawCreateOptions {
  /** What will hold the bytes. It has to exist, and is resized. */
  readonly file: ChildReference;
  /** Size in bytes. */
  readonly size: number;
  /** Space for what is added to `file`: `off` leaves a hole, `full` allocates it. Default `off`. */
  readonly preallocation: "off" | "full";
}

/** Extents of the child in one answer. */
const EXTENTS = 512;

/**
 * The `raw` format: the bytes of its `file` as they are, or a window into them.
 *
 * Limitations: a window of fixed `size` cannot be resized. A raw image has no room for a backing file.
 */
export const rawDriver: BlockDriver<RawOptions, RawCreateOptions> = {
  name: "raw",
  kind: "format",
  contractVersion: DRIVER_CONTRACT_VERSION,
  options: optionSchema({
    file: option.child("what holds the bytes"),
    offset: option.optionalBytes("first byte of the window into file"),
    size: option.optionalBytes("length of the window; default: to the end of file"),
  }),
  createOptions: optionSchema({
    file: option.child("what will hold the bytes; it is resized"),
    size: option.bytes("size of the image"),
    preallocation: option.choice("space for what is added to file", ["off", "full"], "off"),
  }),
  async open(options, context) {
    const child = await context.openChild(options.file, "file");
    return new RawDevice(child, options.offset ?? 0, options.size, context.readOnly, context.nodeName);
  },
  /**
   * A raw image has no metadata: creating one gives its file the size. Bytes that the file held inside it stay. A file
   * that cannot be resized, such as a block device, only has to be large enough.
   */
  async create({ file, size, preallocation }, context) {
    const child = await context.openChild(file, "file");
    const { info } = child;
    if (info.size === size || (info.can.resize === "no" && info.size > size)) return;
    await child.resize(size, {
      preallocation,
      ...(context.signal !== undefined && { signal: context.signal }),
    });
    await child.flush();
  },
  /** Anything can be raw; everything else is a better guess. */
  probe: () => 1,
};

class RawDevice implements BlockDevice {
  readonly #child: BlockChild;
  readonly #base: number;
  /** Length of a fixed window; undefined when the window follows the end of the child. */
  readonly #window: number | undefined;
  readonly #readOnly: boolean;
  readonly #node: string;
  /** Extents of the child, before they are moved into the window; made for the first who asks. */
  #below: ExtentList | undefined;
  #belowBusy = false;
  #info: DeviceInfo;

  constructor(child: BlockChild, base: number, window: number | undefined, readOnly: boolean, node: string) {
    const { size, label } = child.info;
    const end = base + (window ?? 0);
    if (base > size || end > size) {
      throw new BlockError(
        "EINVAL",
        `the window ${base}+${window ?? 0} of node '${node}' ends beyond the ${size} bytes of ${label}`,
        { node, operation: "open" },
      );
    }
    this.#child = child;
    this.#base = base;
    this.#window = window;
    this.#readOnly = readOnly;
    this.#node = node;
    this.#info = this.#describe();
  }

  get info(): DeviceInfo {
    return this.#info;
  }

  read(offset: number, into: IoVec, options?: IoOptions): MaybePromise<void> {
    return this.#child.read(this.#base + offset, into, options);
  }

  write(offset: number, from: IoVec, options?: WriteOptions): MaybePromise<void> {
    return this.#child.write(this.#base + offset, from, options);
  }

  writeZeroes(offset: number, length: number, options?: ZeroOptions): MaybePromise<void> {
    return this.#child.writeZeroes(this.#base + offset, length, options);
  }

  discard(offset: number, length: number, options?: IoOptions): MaybePromise<void> {
    return this.#child.discard(this.#base + offset, length, options);
  }

  flush(options?: IoOptions): MaybePromise<void> {
    return this.#child.flush(options);
  }

  async resize(size: number, options?: ResizeOptions): Promise<void> {
    await this.#child.resize(this.#base + size, options);
    this.#info = this.#describe();
  }

  status(offset: number, length: number, extents: ExtentList, options?: StatusOptions): MaybePromise<void> {
    extents.reset(offset);
    // Requests may overlap; the second one brings its own list.
    const below = this.#belowBusy ? new ExtentList(EXTENTS) : (this.#below ??= new ExtentList(EXTENTS));
    if (below === this.#below) this.#belowBusy = true;
    const finish = (): void => {
      for (let index = 0; index < below.count; index += 1) {
        // A hole below is a hole here; this layer itself stores everything, so it never defers.
        const flags = (below.flagsAt(index) & ExtentFlag.Zero) === 0 ? ExtentFlag.Data : ExtentFlag.Zero;
        const host = below.offsetAt(index);
        if (!extents.append(below.lengthAt(index), flags | ExtentFlag.HostOffset, host)) break;
      }
      if (below === this.#below) this.#belowBusy = false;
    };
    const fail = (error: unknown): never => {
      if (below === this.#below) this.#belowBusy = false;
      throw error;
    };
    try {
      const result = this.#child.status(this.#base + offset, length, below, options);
      if (isPromise(result)) {
        return result.then(() => {
          below.clip(this.#base + offset + length);
          finish();
        }, fail);
      }
    } catch (error) {
      fail(error);
    }
    below.clip(this.#base + offset + length);
    finish();
    return undefined;
  }

  lend(offset: number, length: number, borrow: Borrower): MaybePromise<number> {
    return this.#child.lend(this.#base + offset, length, borrow);
  }

  copyRange(
    offset: number,
    storage: BlockDevice,
    sourceOffset: number,
    length: number,
  ): MaybePromise<number> {
    return this.#child.copyRange(this.#base + offset, storage, sourceOffset, length);
  }

  /** There is nothing here that would have to be stored first: what is below may even refuse to flush. */
  async reopen(readOnly: boolean): Promise<BlockDevice> {
    return new RawDevice(this.#child, this.#base, this.#window, readOnly, this.#node);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #describe(): DeviceInfo {
    const below = this.#child.info;
    const { identity: _identity, namedBacking: _backing, details: _details, ...rest } = below;
    return {
      ...rest,
      driver: "raw",
      size: this.#window ?? below.size - this.#base,
      readOnly: this.#readOnly || below.readOnly,
      // The child's edge aligns and splits; the window may start anywhere.
      align: { ...below.align, read: 1, write: 1, zero: 1 },
      max: { transfer: Number.MAX_SAFE_INTEGER, iovecs: Number.MAX_SAFE_INTEGER },
      can: {
        ...below.can,
        discard: this.#discard(below),
        resize: this.#window === undefined ? below.can.resize : "no",
      },
    };
  }

  /**
   * The child drops the unaligned ends of a discard. Where the window is not aligned as the child is, ends that look
   * aligned here are not aligned there, so nothing can be said of the content afterwards.
   */
  #discard(below: DeviceInfo): DeviceInfo["can"]["discard"] {
    const { discard } = below.can;
    const unit = below.align.discard;
    const end = this.#base + (this.#window ?? below.size - this.#base);
    const aligned = this.#base % unit === 0 && (end % unit === 0 || end === below.size);
    return discard === "zeroes" && !aligned ? "hint" : discard;
  }
}
