import { type Levels, levelAt } from "./levels.ts";
import { WORD_BITS, lowestBit, maskFrom, wordAt, wordOf } from "./words.ts";

/**
 * Walks the dirty groups of an {@link HBitmap} in ascending order while others change it.
 * Made by {@link HBitmap.iterate}; follows the iterator rules of QEMU's hierarchical bitmap.
 *
 * Guarantees: a group that is clear when `next` looks at it is never returned; each group is returned at most
 * once per seek; a group that stays dirty during the whole sweep is returned. *Not* guaranteed: groups that
 * become dirty during the sweep. Behind the cursor they wait for the next sweep; ahead of it they may be
 * returned or not. A caller that must see every group takes -1 as "seek to 0 and go on until nothing is dirty".
 *
 * {@link HBitmap.truncate} to another number of groups voids the iterator: `next` then throws until it is
 * sought again.
 */
export class HBitmapIterator {
  readonly #levels: Levels;
  readonly #granularity: number;
  #generation = -1;
  /** Per level: the word under the cursor, and which of its bits were set when cached and are still to visit. */
  #positions: Int32Array = new Int32Array(0);
  #masks: Int32Array = new Int32Array(0);
  /** Finest level's position and mask; fields because `next` mostly needs nothing else. */
  #word = 0;
  #mask = 0;

  /** @internal Use {@link HBitmap.iterate}. */
  constructor(levels: Levels, granularity: number, first: number) {
    this.#levels = levels;
    this.#granularity = granularity;
    this.seek(first);
  }

  /**
   * Moves the cursor, to either side, and takes a fresh view of what lies ahead. Allocates nothing unless the
   * bitmap was truncated since.
   *
   * @param first item from whose group on to visit, within the bitmap's groups; 0 is always allowed.
   * @throws RangeError when `first` is outside the bitmap.
   */
  seek(first: number): void {
    const levels = this.#levels;
    const group = Math.floor(first / this.#granularity);
    if (!Number.isSafeInteger(first) || first < 0 || (group >= levels.bits && first !== 0)) {
      const capacity = levels.bits * this.#granularity;
      throw new RangeError(`first must be an item of the bitmap, below ${capacity}: got ${first}`);
    }
    const depth = levels.words.length;
    if (this.#positions.length !== depth) {
      this.#positions = new Int32Array(depth);
      this.#masks = new Int32Array(depth);
    }
    this.#generation = levels.generation;
    let position = wordOf(group);
    this.#word = position;
    this.#mask = wordAt(levels.finest, position) & maskFrom(group);
    for (let level = 1; level < depth; level += 1) {
      const parent = position >>> 5;
      this.#positions[level] = parent;
      // Only words after the one under the cursor are still to visit, hence -2: the bits strictly above.
      this.#masks[level] = wordAt(levelAt(levels.words, level), parent) & (-2 << (position & 31));
      position = parent;
    }
  }

  /**
   * The start of the next dirty group in items, or -1 when none is left. The start is the group's even when
   * the iterator was sought into its middle. Allocates nothing. After -1 it keeps answering -1.
   *
   * @throws TypeError when the bitmap was truncated since the last seek.
   */
  next(): number {
    const levels = this.#levels;
    if (levels.generation !== this.#generation) {
      throw truncatedError();
    }
    // Cached mask AND live word: a bit cleared since it was cached is not returned.
    let word = wordAt(levels.finest, this.#word) & this.#mask;
    if (word === 0) word = this.#advance();
    this.#mask = word & (word - 1);
    // At the end both are 0, and the lowest bit of no word is -1. One expression for both outcomes, rather than
    // an early return of -1, keeps engines from boxing every item: it doubles the speed of a sweep.
    return Math.max(-1, (this.#word * WORD_BITS + lowestBit(word)) * this.#granularity);
  }

  /** Moves to the next finest word that has something to visit and returns those bits; to word 0 and 0 at the end. */
  #advance(): number {
    const levels = this.#levels;
    const depth = levels.words.length;
    this.#mask = 0;
    let level = 1;
    let ahead = 0;
    for (; level < depth; level += 1) {
      const words = levelAt(levels.words, level);
      ahead = wordAt(words, wordAt(this.#positions, level)) & wordAt(this.#masks, level);
      if (ahead !== 0) break;
      this.#masks[level] = 0;
    }
    if (ahead === 0) {
      this.#word = 0;
      return 0;
    }
    for (;;) {
      const bit = lowestBit(ahead);
      // The rest of the mask stays as cached, so that a word emptied and refilled ahead is still visited.
      this.#masks[level] = wordAt(this.#masks, level) & (-2 << bit);
      const child = wordAt(this.#positions, level) * WORD_BITS + bit;
      level -= 1;
      ahead = wordAt(levelAt(levels.words, level), child);
      if (level === 0) {
        this.#word = child;
        this.#mask = ahead;
        return ahead;
      }
      this.#positions[level] = child;
      this.#masks[level] = ahead;
    }
  }
}

function truncatedError(): TypeError {
  return new TypeError("the bitmap was truncated under its iterator: seek again or start a new one");
}
