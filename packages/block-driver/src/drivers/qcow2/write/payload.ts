import type { BlockDevice, IoOptions } from "../../../contract/device.ts";
import { iovLength, iovSlice, isPromise, type IoVec, type MaybePromise } from "../../../contract/io.ts";
import type { HostFile } from "../metadata/host-file.ts";

const ONE_OF_MANY: IoOptions = { batch: true };

/** What a write brings to the image, wherever it comes from. */
export interface Payload {
  /** The bytes, where they are in memory: what lies around them can be written in one vector with them. */
  readonly vector: IoVec | undefined;
  /** See `IoOptions.batch`. */
  readonly batch: boolean;
  /** A part, `length` bytes from `from` on; everything else is its own part, and all are waited for. */
  part(from: number, length: number): Payload;
  /** Brings the bytes to their place in a file. */
  writeTo(file: HostFile, offset: number): MaybePromise<void>;
}

/** Bytes in memory. */
export class MemoryPayload implements Payload {
  readonly vector: IoVec;
  readonly batch: boolean;

  constructor(vector: IoVec, batch: boolean) {
    this.vector = vector;
    this.batch = batch;
  }

  part(from: number, length: number): Payload {
    const part = iovSlice(this.vector, from, length);
    return new MemoryPayload(part, this.batch || length < iovLength(this.vector));
  }

  writeTo(file: HostFile, offset: number): MaybePromise<void> {
    return file.write(offset, this.vector, this.batch ? ONE_OF_MANY : undefined);
  }
}

/** The storage below cannot copy the range by itself; nothing is wrong. */
export class CannotCopy extends Error {
  constructor() {
    super("the range cannot be copied where it is stored");
  }
}

/** Bytes that another storage lends: they are copied below this process. */
export class LentPayload implements Payload {
  readonly vector: undefined = undefined;
  readonly batch = false;
  readonly #storage: BlockDevice;
  readonly #offset: number;
  readonly #length: number;

  constructor(storage: BlockDevice, offset: number, length: number) {
    this.#storage = storage;
    this.#offset = offset;
    this.#length = length;
  }

  part(from: number, length: number): Payload {
    return new LentPayload(this.#storage, this.#offset + from, length);
  }

  /** @throws CannotCopy when the file below has not taken all of it. */
  writeTo(file: HostFile, offset: number): MaybePromise<void> {
    const copied = file.copyRange(offset, this.#storage, this.#offset, this.#length);
    if (isPromise(copied)) return copied.then((bytes) => this.#mustBeAll(bytes));
    return this.#mustBeAll(copied);
  }

  #mustBeAll(copied: number): void {
    if (copied < this.#length) throw new CannotCopy();
  }
}
