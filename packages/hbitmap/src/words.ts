// Arithmetic on the 32-bit words of one level. Bit `i` of a level is bit `i mod 32` of word `i div 32`.
// Bit indices may exceed 2^31, so they are divided as Numbers; word indices never do (see MAX_BITS). Only as the
// count of a shift is a bit index used as it is: that is taken modulo 32, exactly, whatever its size.

/** Bits in one word of a level. */
export const WORD_BITS = 32;

/** The word at `index`, or 0 outside the array. */
export function wordAt(words: Int32Array, index: number): number {
  return words[index] ?? 0;
}

/** The word that holds `bit`. */
export function wordOf(bit: number): number {
  return Math.floor(bit / WORD_BITS);
}

/** Index of the lowest set bit of a word, -1 when there is none. */
export function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}

/** Mask of the bits of `bit`'s word at or above it. */
export function maskFrom(bit: number): number {
  return -1 << bit;
}

/** Mask of the bits of `bit`'s word at or below it. */
export function maskThrough(bit: number): number {
  return -1 >>> (WORD_BITS - 1 - bit);
}

/** Number of set bits in a word. */
export function popcount(word: number): number {
  const pairs = word - ((word >>> 1) & 0x55555555);
  const nibbles = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
  return Math.imul((nibbles + (nibbles >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

/** Sets the bits `first` to `last`, both included. */
export function fillOnes(words: Int32Array, first: number, last: number): void {
  const head = wordOf(first);
  const tail = wordOf(last);
  if (head === tail) {
    words[head] = wordAt(words, head) | (maskFrom(first) & maskThrough(last));
    return;
  }
  words[head] = wordAt(words, head) | maskFrom(first);
  words.fill(-1, head + 1, tail);
  words[tail] = wordAt(words, tail) | maskThrough(last);
}

/** Clears the bits `first` to `last`, both included. */
export function fillZeroes(words: Int32Array, first: number, last: number): void {
  const head = wordOf(first);
  const tail = wordOf(last);
  if (head === tail) {
    words[head] = wordAt(words, head) & ~(maskFrom(first) & maskThrough(last));
    return;
  }
  words[head] = wordAt(words, head) & ~maskFrom(first);
  words.fill(0, head + 1, tail);
  words[tail] = wordAt(words, tail) & ~maskThrough(last);
}
