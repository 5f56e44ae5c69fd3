import { type Levels, levelAt } from "./levels.ts";
import { WORD_BITS, lowestBit, maskFrom, wordAt, wordOf } from "./words.ts";

/** Whether `bit` is set. */
export function testBit(levels: Levels, bit: number): boolean {
  return ((wordAt(levels.finest, wordOf(bit)) >>> bit) & 1) === 1;
}

/** The first set bit at or after `from`, or -1. Climbs only as far as needed, so it costs O(levels). */
export function nextSetBit(levels: Levels, from: number): number {
  if (levels.dirtyBits === 0 || from >= levels.bits) return -1;
  const index = wordOf(from);
  const word = wordAt(levels.finest, index) & maskFrom(from);
  if (word !== 0) return index * WORD_BITS + lowestBit(word);

  let position = index + 1;
  for (let level = 1; level < levels.words.length; level += 1) {
    const words = levelAt(levels.words, level);
    const parent = position >>> 5;
    if (parent >= words.length) return -1;
    const ahead = wordAt(words, parent) & (-1 << (position & 31));
    if (ahead !== 0) return firstBitUnder(levels, level, parent * WORD_BITS + lowestBit(ahead));
    position = parent + 1;
  }
  return -1;
}

/**
 * The first clear bit at or after `from` and before `end` (at most the number of bits), or -1. A coarser bit
 * cannot tell a full word, so this looks at the finest level only: O(words).
 */
export function nextClearBit(levels: Levels, from: number, end: number): number {
  if (from >= end || levels.dirtyBits === levels.bits) return -1;
  const words = levels.finest;
  const last = wordOf(end - 1);
  let index = wordOf(from);
  let clear = ~wordAt(words, index) & maskFrom(from);
  while (clear === 0) {
    index += 1;
    if (index > last) return -1;
    clear = ~wordAt(words, index);
  }
  const bit = index * WORD_BITS + lowestBit(clear);
  return bit < end ? bit : -1;
}

/** The first set finest bit below bit `position` of `level`, which is set. */
function firstBitUnder(levels: Levels, level: number, position: number): number {
  let found = position;
  for (let below = level - 1; below >= 0; below -= 1) {
    found = found * WORD_BITS + lowestBit(wordAt(levelAt(levels.words, below), found));
  }
  return found;
}
