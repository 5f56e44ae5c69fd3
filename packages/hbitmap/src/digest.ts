import type { HBitmap } from "./hbitmap.ts";

/** Bytes serialized at a time. */
const PART_BYTES = 65536;

/**
 * SHA-256 of the bitmap's bits as serialized, as 64 hexadecimal digits: a quick way to compare bitmaps across
 * processes when debugging. Equals what QEMU computes for the same bits on a 64-bit host; granularity and
 * exact size are not part of it.
 */
export function sha256(bitmap: HBitmap): string {
  // Loaded here: it takes longer to load than all the rest of a program that never asks for a digest.
  const { createHash } = process.getBuiltinModule("node:crypto");
  const hash = createHash("sha256");
  const part = new Uint8Array(PART_BYTES);
  const step = PART_BYTES * 8 * bitmap.granularity;
  // Even the bitmap of nothing has one word.
  if (bitmap.size === 0) hash.update(part.subarray(0, 8));
  for (let start = 0; start < bitmap.size; start += step) {
    const count = Math.min(step, bitmap.size - start);
    hash.update(part.subarray(0, bitmap.serialize(start, count, part)));
  }
  return hash.digest("hex");
}
