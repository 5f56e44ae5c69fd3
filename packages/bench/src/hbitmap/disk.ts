import { HBitmap } from "@blockmirror/hbitmap";
import FastBitSet from "fastbitset";

/** Bits of the bitmaps measured: 1 TiB in chunks of 64 KiB. */
export const BITS: number = 2 ** 24;
export const GRANULARITY = 65_536;
export const DISK_BYTES: number = BITS * GRANULARITY;

/** A clean bitmap of the disk. */
export function cleanBitmap(): HBitmap {
  return new HBitmap({ size: DISK_BYTES, granularity: GRANULARITY });
}

/** Serialized bits of which every second one is set, the first included. */
const EVERY_SECOND = new Uint8Array(BITS / 8).fill(0x55);
/** Serialized bits of which every fourth one is set, none of them among the above. */
const EVERY_FOURTH = new Uint8Array(BITS / 8).fill(0x22);

/** Makes every second chunk dirty, from the first on, and the others clean. */
export function loadEverySecond(bitmap: HBitmap): void {
  bitmap.deserialize(0, DISK_BYTES, EVERY_SECOND);
}

/** Makes every fourth chunk dirty, from the second on, and the others clean. */
export function loadEveryFourth(bitmap: HBitmap): void {
  bitmap.deserialize(0, DISK_BYTES, EVERY_FOURTH);
}

/** Something bits are added to one by one. */
interface BitSink {
  add(bit: number): unknown;
}

/** Adds every `step`-th bit from `first` on. @returns The sink. */
export function addEvery<Sink extends BitSink>(sink: Sink, first: number, step: number): Sink {
  for (let bit = first; bit < BITS; bit += step) sink.add(bit);
  return sink;
}

/** A peer's bitmap with room for all bits and every `step`-th one from `first` on set. */
export function fastBitSetOf(first: number, step: number): FastBitSet {
  const bits = new FastBitSet();
  bits.resize(BITS - 1);
  return addEvery(bits, first, step);
}
