import { WORD_BITS, fillZeroes, wordAt, wordOf } from "./words.ts";

/**
 * Most bits one bitmap can hold: 2^35, a finest level of 4 GiB, which is the longest array every supported
 * runtime can make. It also keeps word indices below 2^31, so 32-bit operators are safe on them.
 */
export const MAX_BITS: number = 2 ** 35;

/**
 * The words of a hierarchical bitmap. Level 0 is the finest and holds one bit per group of items; a bit of
 * level `n + 1` is set exactly when the word it stands for in level `n` is not zero; the last level is one word.
 * Words are signed because engines then handle them as plain 32-bit integers.
 *
 * Invariants: bits at or beyond `bits` are clear in every level, and `dirtyBits` is the number of set bits of
 * the finest level. The functions that change words keep both.
 */
export class Levels {
  /** Bits in the finest level. */
  bits: number;
  /** Finest level first. */
  words: readonly Int32Array[];
  /** Same array as `words[0]`; a field of its own because hot paths read it on every call. */
  finest: Int32Array;
  /** Set bits in the finest level. */
  dirtyBits = 0;
  /** Grows each time `words` is replaced, so that a holder of positions can tell they are void. */
  generation = 0;

  constructor(bits: number) {
    this.bits = bits;
    this.words = allocate(bits);
    this.finest = levelAt(this.words, 0);
  }

  /**
   * Moves to `words`, made by {@link allocate} for `bits` bits. Bits that remain keep their value, new ones are
   * clear. Bits about to be lost must have been cleared before, as their number has to leave `dirtyBits`.
   */
  moveTo(words: readonly Int32Array[], bits: number): void {
    const finest = levelAt(words, 0);
    finest.set(this.finest.subarray(0, Math.min(this.finest.length, finest.length)));
    this.bits = bits;
    this.words = words;
    this.finest = finest;
    this.generation += 1;
    this.rebuild(0, finest.length - 1);
  }

  /** Recomputes what the coarser levels say about the finest words `first` to `last`, both included. */
  rebuild(first: number, last: number): void {
    let from = first;
    let to = last;
    for (let level = 1; level < this.words.length; level += 1) {
      const below = levelAt(this.words, level - 1);
      const words = levelAt(this.words, level);
      from >>>= 5;
      to >>>= 5;
      for (let index = from; index <= to; index += 1) words[index] = summary(below, index * WORD_BITS);
    }
  }

  /** Clears the finest level's bits at or beyond `bits`, after words were loaded from outside. */
  maskTail(): void {
    const capacity = this.finest.length * WORD_BITS;
    if (this.bits < capacity) fillZeroes(this.finest, this.bits, capacity - 1);
  }

  /** Clears every bit. */
  clear(): void {
    if (this.dirtyBits === 0) return;
    for (const words of this.words) words.fill(0);
    this.dirtyBits = 0;
  }
}

const NO_WORDS = new Int32Array(0);

/** The words of one level; none for a level that does not exist. */
export function levelAt(words: readonly Int32Array[], level: number): Int32Array {
  return words[level] ?? NO_WORDS;
}

/** One bit per word of `words[start..start + 31]`, set where the word is not zero. */
function summary(words: Int32Array, start: number): number {
  const end = Math.min(start + WORD_BITS, words.length);
  let bits = 0;
  for (let index = start; index < end; index += 1) {
    if (wordAt(words, index) !== 0) bits |= 1 << (index - start);
  }
  return bits;
}

/**
 * Clear words of every level for `bits` bits.
 *
 * @throws RangeError when `bits` exceeds {@link MAX_BITS} or the memory is not to be had.
 */
export function allocate(bits: number): readonly Int32Array[] {
  if (bits > MAX_BITS) {
    throw new RangeError(
      `a bitmap of ${bits} bits is larger than the limit of ${MAX_BITS}: use a larger granularity`,
    );
  }
  try {
    const words = [];
    let length = bits;
    do {
      length = Math.max(1, wordOf(length + WORD_BITS - 1));
      words.push(new Int32Array(length));
    } while (length > 1);
    return words;
  } catch (cause) {
    throw new RangeError(
      `not enough memory for a bitmap of ${bits} bits (${Math.ceil(bits / 8)} bytes): use a larger granularity`,
      { cause },
    );
  }
}
