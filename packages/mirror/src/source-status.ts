import {
  ExtentFlag,
  ExtentList,
  StatusResolver,
  type BlockNode,
  type DirtyBitmap,
} from "@blockmirror/block-driver";

/** How the source reads from some offset on: `length` bytes of data, or of zeroes. */
export interface SourceExtent {
  zero: boolean;
  length: number;
}

/** Asked for at once while nobody writes: far enough that a sweep over a sparse image takes few queries. */
const MAX_LOOK_AHEAD = 1024 * 1024 * 1024;
/** Asked for at once while somebody writes: the next operation, since the answer will not last longer. */
const MIN_LOOK_AHEAD = 2 * 1024 * 1024;

/**
 * What the source holds where the sweep is, with one batch of extents kept.
 *
 * The batch is valid only while nothing was written: a guest write that settled since may have put data where the batch
 * says zero, and its dirty bit may have been cleared by the very operation that relies on the batch. A write that has not
 * settled will mark the range dirty again. So the dirty bitmap's generation decides.
 */
export class SourceStatus {
  readonly #source: BlockNode;
  readonly #dirty: DirtyBitmap;
  readonly #resolver = new StatusResolver();
  readonly #extents = new ExtentList();
  #start = 0;
  #generation = -1;
  #index = 0;
  #lookAhead = MAX_LOOK_AHEAD;

  constructor(source: BlockNode, dirty: DirtyBitmap) {
    this.#source = source;
    this.#dirty = dirty;
  }

  /**
   * What `[offset, ...)` holds by the batch at hand; false when the batch does not know, and {@link query} has to be asked
   * first. `into.length` is at most `limit`.
   */
  lookUp(offset: number, limit: number, into: SourceExtent): boolean {
    const list = this.#extents;
    if (this.#generation !== this.#dirty.generation || offset < this.#start || offset >= list.next)
      return false;
    if (this.#index >= list.count || list.offsetAt(this.#index) > offset) this.#index = 0;
    while (list.offsetAt(this.#index) + list.lengthAt(this.#index) <= offset) this.#index += 1;
    const end = list.offsetAt(this.#index) + list.lengthAt(this.#index);
    into.zero = (list.flagsAt(this.#index) & ExtentFlag.Zero) !== 0;
    into.length = Math.min(end - offset, limit);
    return true;
  }

  /**
   * Asks the source from `offset` on. The answer holds for {@link lookUp} until the next write settles.
   * @throws whatever the source's status fails with.
   */
  async query(offset: number, size: number): Promise<void> {
    const { generation } = this.#dirty;
    // Written to since the last query: that answer was mostly wasted. A fragmented image makes a long one expensive.
    const wasted = this.#generation >= 0 && this.#generation !== generation;
    this.#lookAhead = wasted
      ? Math.max(MIN_LOOK_AHEAD, this.#lookAhead / 2)
      : Math.min(MAX_LOOK_AHEAD, this.#lookAhead * 2);
    this.#generation = -1;
    await this.#resolver.resolve(
      this.#source,
      offset,
      Math.min(this.#lookAhead, size - offset),
      this.#extents,
    );
    this.#start = offset;
    this.#index = 0;
    this.#generation = generation;
  }
}
