import type { BlockChild, BlockDevice, DeviceInfo, IoOptions } from "../../../contract/device.ts";
import { iovLength, type IoVec, type MaybePromise } from "../../../contract/io.ts";
import { BlockError } from "../../../errors.ts";
import { Limits } from "../format/constants.ts";

const MIB = 1024 * 1024;
/** Least and most bytes by which a file is made larger ahead of need. They are a hole until something is written. */
const GROWTH = { least: 16 * MIB, most: 1024 * MIB } as const;

/** Requests to a child since the image was opened for writing, for tests of amplification and for people who tune. */
export interface HostCounters {
  writes: number;
  bytesWritten: number;
  zeroRequests: number;
  discards: number;
  flushes: number;
  resizes: number;
}

/** How a {@link HostFile} grows. */
export interface HostFileOptions {
  /** The file grows to just that, and only beyond it if it has to; by default ahead of need. */
  readonly exactSize?: () => number;
  /** See `OpenContext.beginWork`. */
  readonly beginWork: () => () => void;
}

/**
 * The file of an image as its writer sees it: it becomes larger when it has to. A device refuses what ends beyond its
 * size, so the file is grown in generous steps ahead of need, and cut to what is used when the image is closed.
 */
export class HostFile {
  readonly counters: HostCounters = {
    writes: 0,
    bytesWritten: 0,
    zeroRequests: 0,
    discards: 0,
    flushes: 0,
    resizes: 0,
  };
  readonly #file: BlockChild;
  readonly #label: string;
  readonly #exactSize: (() => number) | undefined;
  readonly #beginWork: () => () => void;
  #growing: Promise<void> | undefined;

  constructor(file: BlockChild, label: string, { exactSize, beginWork }: HostFileOptions) {
    this.#file = file;
    this.#label = label;
    this.#exactSize = exactSize;
    this.#beginWork = beginWork;
  }

  get info(): DeviceInfo {
    return this.#file.info;
  }

  /** Bytes of the file now, with what it was grown by ahead of need. */
  get size(): number {
    return this.#file.info.size;
  }

  /** Writes; beyond the end the file becomes larger first. */
  write(offset: number, from: IoVec, options?: IoOptions): MaybePromise<void> {
    const length = iovLength(from);
    const room = this.reserve(offset + length);
    if (room !== undefined) return room.then(() => this.#write(offset, from, length, options));
    return this.#write(offset, from, length, options);
  }

  /** Copies from a storage that lends the range; beyond the end the file becomes larger first. Returns the bytes copied. */
  copyRange(
    offset: number,
    storage: BlockDevice,
    sourceOffset: number,
    length: number,
  ): MaybePromise<number> {
    const room = this.reserve(offset + length);
    if (room !== undefined) {
      return room.then(() => this.#copyRange(offset, storage, sourceOffset, length));
    }
    return this.#copyRange(offset, storage, sourceOffset, length);
  }

  /** Makes a range read as zeroes, with or without its space; beyond the end the file becomes larger first. */
  writeZeroes(offset: number, length: number, unmap = false): MaybePromise<void> {
    const room = this.reserve(offset + length);
    if (room !== undefined) return room.then(() => this.#writeZeroes(offset, length, unmap));
    return this.#writeZeroes(offset, length, unmap);
  }

  /** Gives space back. What lies beyond the end of the file needs nothing. */
  discard(offset: number, length: number): MaybePromise<void> {
    const inside = Math.min(length, this.size - offset);
    if (inside <= 0) return undefined;
    this.counters.discards += 1;
    return this.#file.discard(offset, inside);
  }

  /** Makes everything written before durable. */
  flush(): MaybePromise<void> {
    this.counters.flushes += 1;
    return this.#file.flush();
  }

  /**
   * Undefined when the file reaches to `end` already, else a promise that it does. Nearing the end starts growing, so
   * that a steady writer never waits.
   */
  reserve(end: number): Promise<void> | undefined {
    const { size } = this;
    if (end > size) return this.#growTo(end);
    const ahead = this.#exactSize === undefined && this.counters.resizes > 0;
    if (ahead && size - end < GROWTH.least / 2 && this.#growing === undefined) {
      // Growing ahead is a courtesy: whoever really needs the room will see why it failed.
      this.#growTo(size + 1)
        .catch(() => {})
        .finally(this.#beginWork());
    }
    return undefined;
  }

  /** Sets the size, larger or smaller. */
  async resize(size: number): Promise<void> {
    while (this.#growing !== undefined) await this.#growing.catch(() => {});
    if (size === this.size) return;
    this.counters.resizes += 1;
    await this.#file.resize(size);
  }

  async #growTo(end: number): Promise<void> {
    while (end > this.size) {
      this.#growing ??= this.#grow(end).finally(() => (this.#growing = undefined));
      await this.#growing;
    }
  }

  async #grow(end: number): Promise<void> {
    if (this.#file.info.can.resize === "no") {
      throw new BlockError(
        "ENOSPC",
        `${this.#label}: its file has ${this.size} bytes and cannot grow to ${end}; use a larger one`,
        { node: this.#label },
      );
    }
    if (end > Limits.hostOffset) {
      throw new BlockError("EFBIG", `${this.#label}: its file cannot grow to ${end} bytes`, {
        node: this.#label,
      });
    }
    const step = Math.min(GROWTH.most, Math.max(GROWTH.least, this.size / 4));
    const wanted =
      this.#exactSize === undefined ? Math.ceil((end + step) / MIB) * MIB : Math.max(end, this.#exactSize());
    this.counters.resizes += 1;
    try {
      await this.#file.resize(wanted);
    } catch (error) {
      // A file system that has a limit may still take what is needed.
      if (!(error instanceof BlockError) || !["EFBIG", "ENOSPC", "EINVAL"].includes(error.code)) throw error;
      await this.#file.resize(end);
    }
  }

  #write(offset: number, from: IoVec, length: number, options?: IoOptions): MaybePromise<void> {
    this.counters.writes += 1;
    this.counters.bytesWritten += length;
    return this.#file.write(offset, from, options);
  }

  #copyRange(
    offset: number,
    storage: BlockDevice,
    sourceOffset: number,
    length: number,
  ): MaybePromise<number> {
    this.counters.writes += 1;
    this.counters.bytesWritten += length;
    return this.#file.copyRange(offset, storage, sourceOffset, length);
  }

  #writeZeroes(offset: number, length: number, unmap: boolean): MaybePromise<void> {
    this.counters.zeroRequests += 1;
    return this.#file.writeZeroes(offset, length, { unmap });
  }
}
