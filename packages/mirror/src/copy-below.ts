import { isPromise, type BlockEdge, type MaybePromise } from "@blockmirror/block-driver";

/** A pair of nodes that could not copy below this often in a row is asked seldom: images may be scattered in parts. */
const MOST_MISSES = 8;
const SELDOM = 64;
/**
 * Pieces below this are no gain over reading and writing everything that is left at once. Of an image in pieces of 64 KiB, as
 * guests leave them, 2 GiB to qcow2 took 5 to 8 s one by one, 2 s together; from 512 KiB on there is no difference.
 */
const LEAST_PIECE = 512 * 1024;

/**
 * Copies where the storage of source and target can do it by themselves, without moving the bytes through this process.
 * It never fails: what it did not copy is read and written by the caller, who then meets what is wrong, on the side where
 * it is wrong.
 */
export class CopyBelow {
  readonly #source: BlockEdge;
  readonly #target: BlockEdge;
  #misses = 0;
  #works = false;

  constructor(source: BlockEdge, target: BlockEdge) {
    this.#source = source;
    this.#target = target;
  }

  /** The last range was copied in full. */
  get works(): boolean {
    return this.#works;
  }

  /** Returns the bytes copied from the start of the range, which the source stores in pieces of `piece` bytes on average. */
  copy(offset: number, length: number, piece: number): MaybePromise<number> {
    const possible = this.#source.info.can.lend && this.#target.info.can.copyRange;
    if (!possible || this.#isToRest()) return 0;
    if (piece < LEAST_PIECE) {
      this.#works = false;
      return 0;
    }
    return this.#copy(offset, length);
  }

  #isToRest(): boolean {
    if (this.#misses < MOST_MISSES) return false;
    this.#misses += 1;
    return this.#misses % SELDOM !== 0;
  }

  async #copy(offset: number, length: number): Promise<number> {
    let done = 0;
    try {
      while (done < length) {
        const answer = this.#target.copyFrom(offset + done, this.#source, offset + done, length - done);
        const copied = isPromise(answer) ? await answer : answer;
        done += copied;
        if (copied < LEAST_PIECE) break;
      }
    } catch {
      // The caller tries the rest in its own way, and reports what that meets.
    }
    this.#works = done === length;
    this.#misses = done > 0 ? 0 : this.#misses + 1;
    return done;
  }
}
