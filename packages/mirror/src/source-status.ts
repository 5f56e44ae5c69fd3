import {
  COARSE_BLOCK,
  ExtentFlag,
  ExtentList,
  StatusResolver,
  type BlockNode,
  type DirtyBitmap,
} from "@blockmirror/block-driver";

/**
 * How the source reads from some offset on: whole chunks that are zero, up to the image's end, or chunks of which a part at
 * least is data.
 */
export interface SourceExtent {
  zero: boolean;
  length: number;
  /** Of data: in how many places it is stored, as far as the source tells; holes in between count. */
  pieces: number;
}

/** How a job divides an image, in bytes. */
interface Chunks {
  readonly size: number;
  readonly granularity: number;
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
  readonly #size: number;
  readonly #chunk: number;
  #start = 0;
  #generation = -1;
  #index = 0;
  #lookAhead = MAX_LOOK_AHEAD;

  constructor(source: BlockNode, dirty: DirtyBitmap, { size, granularity }: Chunks) {
    this.#source = source;
    this.#dirty = dirty;
    this.#size = size;
    this.#chunk = granularity;
  }

  /**
   * What the chunks from `offset` on hold by the batch at hand; false when the batch does not know, and {@link query} has to
   * be asked first. `into.length` is at most `limit`, and looks at no more than `mostData` bytes of data.
   */
  lookUp(offset: number, limit: number, mostData: number, into: SourceExtent): boolean {
    const list = this.#extents;
    if (this.#generation !== this.#dirty.generation || offset < this.#start || offset >= list.next)
      return false;
    if (this.#index >= list.count || list.offsetAt(this.#index) > offset) this.#index = 0;
    while (list.offsetAt(this.#index) + list.lengthAt(this.#index) <= offset) this.#index += 1;
    const zeroes = this.#wholeZeroes(this.#index, offset, offset + limit);
    into.zero = zeroes > 0;
    if (into.zero) into.length = zeroes;
    else this.#findData(offset, offset + Math.min(limit, mostData), into);
    return true;
  }

  /**
   * The chunks from `offset` on that hold data. Their pieces may lie anywhere in the image, and between them there may be
   * holes too small to matter: one operation moves them all, since each one costs more than a chunk does.
   */
  #findData(offset: number, limit: number, into: SourceExtent): void {
    const list = this.#extents;
    const chunk = this.#chunk;
    let end = offset + chunk;
    let index = this.#index;
    for (; index < list.count && end < limit; index += 1) {
      const extentEnd = list.offsetAt(index) + list.lengthAt(index);
      if (extentEnd <= end) continue;
      if ((list.flagsAt(index) & ExtentFlag.Zero) === 0) end = Math.ceil(extentEnd / chunk) * chunk;
      else if (this.#wholeZeroes(index, end, limit) > 0) break;
    }
    into.length = Math.min(end, limit) - offset;
    into.pieces = Math.max(1, index - this.#index);
  }

  /** Bytes of whole chunks that read as zeroes from `offset` on, which is in extent `index` or at its start. */
  #wholeZeroes(index: number, offset: number, limit: number): number {
    const list = this.#extents;
    let end = offset;
    for (let at = index; at < list.count && end < limit; at += 1) {
      if ((list.flagsAt(at) & ExtentFlag.Zero) === 0) break;
      end = list.offsetAt(at) + list.lengthAt(at);
    }
    end = Math.min(end, limit);
    // The end of the image completes the last chunk.
    const whole = end >= this.#size ? end : Math.floor(end / this.#chunk) * this.#chunk;
    return Math.max(0, whole - offset);
  }

  /**
   * Asks the source from `offset` on. The answer holds for {@link lookUp} until the next write settles.
   * @throws whatever the source's status fails with.
   */
  async query(offset: number): Promise<void> {
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
      Math.min(this.#lookAhead, this.#size - offset),
      this.#extents,
      { precise: this.#chunk < COARSE_BLOCK },
    );
    this.#start = offset;
    this.#index = 0;
    this.#generation = generation;
  }
}
