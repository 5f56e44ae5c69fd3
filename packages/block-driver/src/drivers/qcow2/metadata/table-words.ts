import { endianness } from "node:os";

/** Tables are big-endian on disk (qcow2 specification, "General"); typed arrays are in the host's order. */
const IS_SWAPPED: boolean = endianness() === "LE";

/**
 * Decodes a table of big-endian words where it is: the bytes become the words, whose memory they share. Bytes that start at
 * a multiple of four, as those of an array of their own do.
 */
export function decodeInPlace(bytes: Uint8Array): Uint32Array {
  swap(bytes);
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}

/** Stores words big-endian from byte `at` of `bytes` on. */
export function encodeWords(words: Uint32Array, bytes: Uint8Array, at: number): void {
  const stored = bytes.subarray(at, at + words.byteLength);
  stored.set(new Uint8Array(words.buffer, words.byteOffset, words.byteLength));
  swap(stored);
}

/** Turns each word around; far faster than word by word. */
function swap(bytes: Uint8Array): void {
  if (IS_SWAPPED) Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).swap32();
}
