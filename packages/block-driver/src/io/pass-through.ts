import type {
  BlockChild,
  BlockDevice,
  DeviceInfo,
  IoOptions,
  ResizeOptions,
  StatusOptions,
  WriteOptions,
  ZeroOptions,
} from "../contract/device.ts";
import type { ExtentList } from "../contract/extents.ts";
import type { IoVec, MaybePromise } from "../contract/io.ts";

/**
 * A device that forwards everything to one child: the base of a filter. Override what the filter is about.
 *
 * Its `info` follows the child, without alignment and limits: the edge to the child takes care of those.
 */
export class PassThroughDevice implements BlockDevice {
  readonly child: BlockChild;
  readonly #driver: string;
  #seen: DeviceInfo | undefined;
  #info: DeviceInfo | undefined;

  /** `driver` is the name shown in `info`. The child stays the graph's. */
  constructor(driver: string, child: BlockChild) {
    this.#driver = driver;
    this.child = child;
  }

  get info(): DeviceInfo {
    const below = this.child.info;
    if (this.#info === undefined || this.#seen !== below) {
      this.#seen = below;
      this.#info = passThroughInfo(this.#driver, below);
    }
    return this.#info;
  }

  read(offset: number, into: IoVec, options?: IoOptions): MaybePromise<void> {
    return this.child.read(offset, into, options);
  }

  write(offset: number, from: IoVec, options?: WriteOptions): MaybePromise<void> {
    return this.child.write(offset, from, options);
  }

  writeZeroes(offset: number, length: number, options?: ZeroOptions): MaybePromise<void> {
    return this.child.writeZeroes(offset, length, options);
  }

  discard(offset: number, length: number, options?: IoOptions): MaybePromise<void> {
    return this.child.discard(offset, length, options);
  }

  flush(options?: IoOptions): MaybePromise<void> {
    return this.child.flush(options);
  }

  resize(size: number, options?: ResizeOptions): Promise<void> {
    return this.child.resize(size, options);
  }

  status(offset: number, length: number, extents: ExtentList, options?: StatusOptions): MaybePromise<void> {
    return this.child.status(offset, length, extents, options);
  }

  /** What is below has been reopened already, and the node knows its own mode. */
  reopen(): Promise<BlockDevice> {
    return Promise.resolve(this);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** The child's facts as its filter presents them; the identity stays with the child, which alone is the storage. */
function passThroughInfo(driver: string, below: DeviceInfo): DeviceInfo {
  const { identity: _identity, ...rest } = below;
  return {
    ...rest,
    driver,
    // Discards are not emulated: what is unaligned below is dropped there.
    align: { ...below.align, read: 1, write: 1, zero: 1 },
    max: { transfer: Number.MAX_SAFE_INTEGER, iovecs: Number.MAX_SAFE_INTEGER },
    can: { ...below.can, copyRange: false, lend: false },
  };
}
