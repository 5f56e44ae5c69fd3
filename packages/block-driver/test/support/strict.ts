import {
  BlockError,
  BYTE_ALIGNMENT,
  DRIVER_CONTRACT_VERSION,
  iovLength,
  option,
  optionSchema,
  READ_ONLY_CAPABILITIES,
  type BlockChild,
  type BlockDevice,
  type BlockDriver,
  type ChildReference,
  type DeviceAlignment,
  type DeviceCapabilities,
  type DeviceInfo,
  type DeviceLimits,
  type ExtentList,
  type IoOptions,
  type IoVec,
  type MaybePromise,
  type ResizeOptions,
  type StatusOptions,
  type WriteOptions,
  type ZeroOptions,
} from "../../src/index.ts";

/** How demanding the `strict` driver is, and how little it can do. */
export interface StrictOptions {
  readonly file: ChildReference;
  readonly align: Partial<DeviceAlignment>;
  readonly max: Partial<DeviceLimits>;
  readonly can: Partial<DeviceCapabilities>;
  /** Every answer takes a turn of the event loop, so that requests overlap. */
  readonly later: boolean;
  /** `writeZeroes` is announced but says ENOTSUP. */
  readonly zeroRefuses: boolean;
}

function partial<T>(value: unknown): Partial<T> {
  return typeof value === "object" && value !== null ? value : {};
}

/**
 * A format that hands on to its file and refuses with a plain `Error` whatever its own contract forbids the block layer
 * to ask: unaligned or oversized requests, operations it has not announced.
 */
export const strictDriver: BlockDriver<StrictOptions> = {
  name: "strict",
  kind: "format",
  contractVersion: DRIVER_CONTRACT_VERSION,
  options: optionSchema({
    file: option.child("what it is strict about"),
    align: option.json("alignment", (value) => partial<DeviceAlignment>(value)),
    max: option.json("limits", (value) => partial<DeviceLimits>(value)),
    can: option.json("capabilities", (value) => partial<DeviceCapabilities>(value)),
    later: option.boolean("answer later", false),
    zeroRefuses: option.boolean("writeZeroes says ENOTSUP", false),
  }),
  async open(options, context) {
    return new StrictDevice(options, await context.openChild(options.file, "file"), context.readOnly);
  },
};

/** Calls that reached strict devices, newest last, for tests that count them. */
export class StrictDevice implements BlockDevice {
  readonly calls: string[] = [];
  readonly #options: StrictOptions;
  readonly #child: BlockChild;
  readonly #readOnly: boolean;
  #info: DeviceInfo;

  constructor(options: StrictOptions, child: BlockChild, readOnly: boolean) {
    this.#options = options;
    this.#child = child;
    this.#readOnly = readOnly;
    this.#info = this.#describe();
  }

  get info(): DeviceInfo {
    return this.#info;
  }

  read(offset: number, into: IoVec): MaybePromise<void> {
    const length = iovLength(into);
    this.#check("read", offset, length, this.info.align.read, into.length);
    return this.#run(() => this.#child.read(offset, into));
  }

  write(offset: number, from: IoVec, options?: WriteOptions): MaybePromise<void> {
    const length = iovLength(from);
    this.#check("write", offset, length, this.info.align.write, from.length);
    if (options?.fua === true && !this.info.can.fua) throw new Error("fua was not announced");
    return this.#run(() => this.#child.write(offset, from, options));
  }

  writeZeroes(offset: number, length: number, options?: ZeroOptions): MaybePromise<void> {
    if (this.info.can.writeZeroes === "no") throw new Error("writeZeroes was not announced");
    if (options?.fua === true && !this.info.can.fua) throw new Error("fua was not announced");
    this.#check("writeZeroes", offset, length, this.info.align.zero, 1, Number.MAX_SAFE_INTEGER);
    if (this.#options.zeroRefuses) throw new BlockError("ENOTSUP", "not this range");
    return this.#run(() => this.#child.writeZeroes(offset, length, options));
  }

  discard(offset: number, length: number): MaybePromise<void> {
    if (this.info.can.discard === "no") throw new Error("discard was not announced");
    const unit = this.info.align.discard;
    const tail = offset + length === this.info.size ? 0 : length % unit;
    this.#check("discard", offset, length - tail, 1, 1, Number.MAX_SAFE_INTEGER);
    if (offset % unit !== 0 || tail !== 0) throw new Error(`discard ${offset}+${length} is not aligned`);
    return this.#run(() => this.#child.discard(offset, length));
  }

  flush(options?: IoOptions): MaybePromise<void> {
    if (!this.info.can.flush) throw new Error("flush was not announced");
    this.calls.push("flush");
    return this.#run(() => this.#child.flush(options));
  }

  async resize(size: number, options?: ResizeOptions): Promise<void> {
    if (this.info.can.resize === "no") throw new Error("resize was not announced");
    await this.#child.resize(size, options);
    this.#info = this.#describe();
  }

  status(offset: number, length: number, extents: ExtentList, options?: StatusOptions): MaybePromise<void> {
    return this.#run(() => this.#child.status(offset, length, extents, options));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #run(request: () => MaybePromise<void>): MaybePromise<void> {
    return this.#options.later ? new Promise<void>(setImmediate).then(request) : request();
  }

  #check(
    operation: string,
    offset: number,
    length: number,
    unit: number,
    pieces: number,
    most = this.info.max.transfer,
  ): void {
    this.calls.push(`${operation} ${offset}+${length}`);
    const { size, max } = this.info;
    if (length <= 0 || offset < 0 || offset + length > size) throw new Error(`${operation} out of range`);
    if (offset % unit !== 0 || length % unit !== 0) {
      throw new Error(`${operation} ${offset}+${length} is not aligned to ${unit}`);
    }
    if (length > most || pieces > max.iovecs) {
      throw new Error(`${operation} of ${length} bytes in ${pieces} pieces is beyond the limits`);
    }
  }

  #describe(): DeviceInfo {
    const below = this.#child.info;
    const { align, max, can } = this.#options;
    return {
      driver: "strict",
      label: `strict ${below.label}`,
      size: below.size,
      readOnly: this.#readOnly,
      align: { ...BYTE_ALIGNMENT, allocation: below.align.allocation, ...align },
      max: { transfer: Number.MAX_SAFE_INTEGER, iovecs: Number.MAX_SAFE_INTEGER, ...max },
      can: { ...READ_ONLY_CAPABILITIES, write: true, status: below.can.status, ...can },
    };
  }
}
