import assert from "node:assert/strict";
import { DRIVER_CONTRACT_VERSION, type BlockDriver } from "../contract/driver.ts";
import {
  READ_ONLY_CAPABILITIES,
  type BlockChild,
  type BlockDevice,
  type DeviceCapabilities,
  type DeviceInfo,
  type ResizeOptions,
  type StatusOptions,
  type WriteOptions,
  type ZeroOptions,
} from "../contract/device.ts";
import { ExtentFlag, type ExtentList } from "../contract/extents.ts";
import { iovLength, type IoVec, type MaybePromise } from "../contract/io.ts";
import { option, optionSchema, type ChildReference } from "../contract/options.ts";

/** Options of the `constrained` driver. */
export interface ConstrainedOptions {
  readonly file: ChildReference;
  /** Block size in bytes, a power of two: reads and writes must be aligned to it. Default 1. */
  readonly block: number;
  /** Bytes that one read or write has at most. Default: no limit. */
  readonly transfer: number;
  /** Pieces that one vector has at most. Default 1024. */
  readonly iovecs: number;
  /** What is there: everything that `file` can do, the required members and `write`, or the required members only. */
  readonly members: "all" | "write" | "required";
  /** Answer on a later turn of the event loop, so that requests overlap. */
  readonly later: boolean;
}

/**
 * A format as demanding and as incapable as its options say, over any `file`. It fails with an assertion when it is asked
 * for what the contract rules out, so it proves the block layer above it as well as the driver below.
 */
export const constrainedDriver: BlockDriver<ConstrainedOptions> = {
  name: "constrained",
  kind: "format",
  contractVersion: DRIVER_CONTRACT_VERSION,
  options: optionSchema({
    file: option.child("what is made demanding"),
    block: option.integer("block size in bytes, a power of two", 1, { min: 1, max: 1024 * 1024 }),
    transfer: option.integer("most bytes of one read or write", Number.MAX_SAFE_INTEGER, { min: 1 }),
    iovecs: option.integer("most pieces of one vector", 1024, { min: 1 }),
    members: option.choice("what is there", ["all", "write", "required"], "all"),
    later: option.boolean("answer on a later turn of the event loop", false),
  }),
  async open(options, context) {
    return new ConstrainedDevice(options, await context.openChild(options.file, "file"), context.readOnly);
  },
};

class ConstrainedDevice implements BlockDevice {
  readonly #options: ConstrainedOptions;
  readonly #child: BlockChild;
  readonly #readOnly: boolean;
  #info: DeviceInfo;

  constructor(options: ConstrainedOptions, child: BlockChild, readOnly: boolean) {
    this.#options = options;
    this.#child = child;
    this.#readOnly = readOnly;
    this.#info = this.#describe();
  }

  get info(): DeviceInfo {
    return this.#info;
  }

  read(offset: number, into: IoVec): MaybePromise<void> {
    this.#checkTransfer("read", offset, into, this.#info.align.read);
    return this.#answer(() => this.#child.read(offset, into));
  }

  write(offset: number, from: IoVec, options: WriteOptions = {}): MaybePromise<void> {
    assert.ok(this.#info.can.write, "write was not announced");
    assert.ok(options.fua !== true || this.#info.can.fua, "fua was not announced");
    this.#checkTransfer("write", offset, from, this.#info.align.write);
    return this.#answer(() => this.#child.write(offset, from, options));
  }

  writeZeroes(offset: number, length: number, options: ZeroOptions = {}): MaybePromise<void> {
    assert.notEqual(this.#info.can.writeZeroes, "no", "writeZeroes was not announced");
    assert.ok(options.fua !== true || this.#info.can.fua, "fua was not announced");
    this.#checkRange("writeZeroes", offset, length, this.#info.align.zero);
    return this.#answer(() => this.#child.writeZeroes(offset, length, options));
  }

  discard(offset: number, length: number): MaybePromise<void> {
    assert.notEqual(this.#info.can.discard, "no", "discard was not announced");
    const { align, size } = this.#info;
    // The last unit may be cut short by the end of the device.
    const whole = offset + length === size ? length - (size % align.discard) : length;
    if (whole > 0) this.#checkRange("discard", offset, whole, align.discard);
    return this.#answer(() => this.#child.discard(offset, length));
  }

  flush(): MaybePromise<void> {
    assert.ok(this.#info.can.flush, "flush was not announced");
    return this.#answer(() => this.#child.flush());
  }

  async resize(size: number, options?: ResizeOptions): Promise<void> {
    assert.notEqual(this.#info.can.resize, "no", "resize was not announced");
    assert.equal(size % this.#options.block, 0, "the size is a multiple of the block size");
    await this.#child.resize(size, options);
    this.#info = this.#describe();
  }

  status(offset: number, length: number, extents: ExtentList, options?: StatusOptions): MaybePromise<void> {
    this.#checkRange("status", offset, length, 1);
    if (this.#info.can.status !== "none") {
      return this.#answer(() => this.#child.status(offset, length, extents, options));
    }
    extents.reset(offset);
    extents.append(length, ExtentFlag.Data);
    return undefined;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #answer(request: () => MaybePromise<void>): MaybePromise<void> {
    return this.#options.later ? new Promise<void>(setImmediate).then(request) : request();
  }

  #checkTransfer(operation: string, offset: number, iov: IoVec, unit: number): void {
    const length = iovLength(iov);
    this.#checkRange(operation, offset, length, unit);
    const { max } = this.#info;
    assert.ok(length <= max.transfer, `${operation} of ${length} bytes: at most ${max.transfer} are taken`);
    assert.ok(
      iov.length <= max.iovecs,
      `${operation} of ${iov.length} pieces: at most ${max.iovecs} are taken`,
    );
  }

  #checkRange(operation: string, offset: number, length: number, unit: number): void {
    const { size } = this.#info;
    assert.ok(
      offset >= 0 && length > 0 && offset + length <= size,
      `${operation} at ${offset}+${length} is outside ${size} bytes`,
    );
    assert.ok(
      offset % unit === 0 && length % unit === 0,
      `${operation} at ${offset}+${length} is not aligned to ${unit}`,
    );
  }

  #describe(): DeviceInfo {
    const below = this.#child.info;
    const { block, transfer, iovecs } = this.#options;
    return {
      driver: "constrained",
      label: below.label,
      size: below.size,
      readOnly: this.#readOnly,
      align: {
        read: block,
        write: block,
        zero: block,
        discard: Math.max(block, below.align.discard),
        allocation: below.align.allocation,
        optimal: below.align.optimal,
      },
      max: { transfer, iovecs },
      can: this.#capabilities(below.can),
    };
  }

  #capabilities(below: DeviceCapabilities): DeviceCapabilities {
    const { members } = this.#options;
    if (members === "required") return READ_ONLY_CAPABILITIES;
    if (members === "write") return { ...READ_ONLY_CAPABILITIES, write: below.write };
    return { ...below, copyRange: false, lend: false };
  }
}
