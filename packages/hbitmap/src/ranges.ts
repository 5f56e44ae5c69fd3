import { type Levels, levelAt } from "./levels.ts";
import { fillOnes, fillZeroes, maskFrom, maskThrough, popcount, wordAt, wordOf } from "./words.ts";

/**
 * Sets the bits `first` to `last`, both included.
 *
 * @returns how many of them were clear before.
 */
export function setBits(levels: Levels, first: number, last: number): number {
  if (levels.dirtyBits === levels.bits) return 0;
  const words = levels.finest;
  const head = wordOf(first);
  const tail = wordOf(last);
  let added: number;
  if (head === tail) {
    const mask = maskFrom(first) & maskThrough(last);
    const before = wordAt(words, head);
    added = popcount(mask & ~before);
    if (added === 0) return 0;
    words[head] = before | mask;
    if (before === 0) markParents(levels, head, head);
  } else {
    added = last - first + 1 - countBits(levels, first, last);
    if (added === 0) return 0;
    fillOnes(words, first, last);
    markParents(levels, head, tail);
  }
  levels.dirtyBits += added;
  return added;
}

/**
 * Clears the bits `first` to `last`, both included.
 *
 * @returns how many of them were set before.
 */
export function clearBits(levels: Levels, first: number, last: number): number {
  if (levels.dirtyBits === 0) return 0;
  const words = levels.finest;
  const head = wordOf(first);
  const tail = wordOf(last);
  let removed: number;
  if (head === tail) {
    const mask = maskFrom(first) & maskThrough(last);
    const before = wordAt(words, head);
    removed = popcount(before & mask);
    if (removed === 0) return 0;
    words[head] = before & ~mask;
  } else {
    removed = countBits(levels, first, last);
    if (removed === 0) return 0;
    fillZeroes(words, first, last);
  }
  unmarkParents(levels, head, tail);
  levels.dirtyBits -= removed;
  return removed;
}

/** Number of set bits among `first` to `last`, both included. */
export function countBits(levels: Levels, first: number, last: number): number {
  const total = levels.dirtyBits;
  if (total === 0) return 0;
  const asked = last - first + 1;
  if (asked === levels.bits) return total;
  if (total === levels.bits) return asked;
  const words = levels.finest;
  const head = wordOf(first);
  const tail = wordOf(last);
  if (head === tail) return popcount(wordAt(words, head) & maskFrom(first) & maskThrough(last));
  return (
    popcount(wordAt(words, head) & maskFrom(first)) +
    countWords(levels, head + 1, tail) +
    popcount(wordAt(words, tail) & maskThrough(last))
  );
}

/** Number of set bits in the finest words `from` to `to - 1`; runs of empty words cost one look at their parent. */
export function countWords(levels: Levels, from: number, to: number): number {
  const words = levels.finest;
  const parents = levels.words[1];
  let count = 0;
  let index = from;
  while (index < to) {
    // Bits of the parent word are this word and the following ones up to the next multiple of 32.
    const end = Math.min(to, ((index >>> 5) + 1) << 5);
    if (parents === undefined || wordAt(parents, index >>> 5) !== 0) {
      for (; index < end; index += 1) count += popcount(wordAt(words, index));
    }
    index = end;
  }
  return count;
}

/** Records that the finest words `first` to `last` are not zero. */
function markParents(levels: Levels, first: number, last: number): void {
  let head = first;
  let tail = last;
  for (let level = 1; level < levels.words.length; level += 1) {
    const words = levelAt(levels.words, level);
    const known = head >>> 5 === tail >>> 5 && wordAt(words, head >>> 5) !== 0;
    fillOnes(words, head, tail);
    // A single word that was not zero is known to all levels above it.
    if (known) return;
    head >>>= 5;
    tail >>>= 5;
  }
}

/** Records that, of the finest words `first` to `last`, those between are zero and the outer two may be. */
function unmarkParents(levels: Levels, first: number, last: number): void {
  let head = first;
  let tail = last;
  for (let level = 1; level < levels.words.length; level += 1) {
    const below = levelAt(levels.words, level - 1);
    if (wordAt(below, head) !== 0) head += 1;
    if (tail >= head && wordAt(below, tail) !== 0) tail -= 1;
    if (head > tail) return;
    fillZeroes(levelAt(levels.words, level), head, tail);
    head >>>= 5;
    tail >>>= 5;
  }
}
