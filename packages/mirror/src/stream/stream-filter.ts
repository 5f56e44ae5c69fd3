import {
  PassThroughDevice,
  RangeLock,
  type BlockChild,
  type IoVec,
  type WriteOptions,
  type ZeroOptions,
} from "@blockmirror/block-driver";

/** Driver name of the filter node that a stream puts above the image it fills. */
export const STREAM_FILTER_DRIVER = "copy-on-read";

/**
 * The device of the node above an image that is filled from below. Changes that guests make and pieces that the job fills
 * in exclude each other where they overlap: what was read from below must not overwrite what a guest wrote meanwhile.
 */
export class StreamFilter extends PassThroughDevice {
  readonly #lock = new RangeLock();

  constructor(image: BlockChild) {
    super(STREAM_FILTER_DRIVER, image);
  }

  /** Runs while no guest changes the range. */
  async alone<Value>(offset: number, length: number, run: () => Promise<Value>): Promise<Value> {
    const release = await this.#lock.acquire(offset, length);
    try {
      return await run();
    } finally {
      release();
    }
  }

  override write(offset: number, from: IoVec, options?: WriteOptions): Promise<void> {
    const length = from.reduce((sum, part) => sum + part.length, 0);
    if (length === 0) return Promise.resolve();
    return this.alone(offset, length, async () => super.write(offset, from, options));
  }

  override writeZeroes(offset: number, length: number, options?: ZeroOptions): Promise<void> {
    if (length === 0) return Promise.resolve();
    return this.alone(offset, length, async () => super.writeZeroes(offset, length, options));
  }

  override discard(offset: number, length: number): Promise<void> {
    if (length === 0) return Promise.resolve();
    return this.alone(offset, length, async () => super.discard(offset, length));
  }
}
