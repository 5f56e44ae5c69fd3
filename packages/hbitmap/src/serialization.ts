import type { Levels } from "./levels.ts";
import { countBits, countWords } from "./ranges.ts";
import { WORD_BITS, wordAt, wordOf } from "./words.ts";

/**
 * Serialized bitmaps are cut at multiples of this many bits and padded to it at the end: the finest level as
 * little-endian 64-bit words, which is what QEMU puts on the wire on 64-bit hosts. A host's own word size and
 * byte order never show.
 */
export const SERIAL_BITS = 64;

/** Bytes that `bits` bits take when serialized. */
export function serialBytes(bits: number): number {
  return Math.ceil(bits / SERIAL_BITS) * 8;
}

/** Writes the bits `first` (a multiple of 64) to `first + bits - 1` to the start of `into`. */
export function storeBits(levels: Levels, first: number, bits: number, into: Uint8Array): void {
  const words = levels.finest;
  const base = wordOf(first);
  const count = serialBytes(bits) / 4;
  const view = new DataView(into.buffer, into.byteOffset, count * 4);
  const present = Math.min(count, words.length - base);
  for (let index = 0; index < present; index += 1) {
    view.setInt32(index * 4, wordAt(words, base + index), true);
  }
  for (let index = present; index < count; index += 1) view.setInt32(index * 4, 0, true);
}

/**
 * Replaces the bits `first` (a multiple of 64) to `first + bits - 1` by those at the start of `from`. Either
 * `bits` is a multiple of 64 too or the range ends the bitmap; what `from` says beyond the end is ignored.
 */
export function loadBits(levels: Levels, first: number, bits: number, from: Uint8Array): void {
  const words = levels.finest;
  const head = wordOf(first);
  const end = wordOf(first + bits + WORD_BITS - 1);
  const view = new DataView(from.buffer, from.byteOffset, (end - head) * 4);
  const removed = countBits(levels, first, first + bits - 1);
  for (let index = head; index < end; index += 1) words[index] = view.getInt32((index - head) * 4, true);
  levels.maskTail();
  levels.rebuild(head, end - 1);
  levels.dirtyBits += countWords(levels, head, end) - removed;
}
