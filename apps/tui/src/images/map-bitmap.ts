import type { DirtyBitmap } from "@blockmirror/block-driver";

/** A range of an image that was written since a bitmap was made, or was not. */
export interface BitmapRange {
  readonly start: number;
  readonly length: number;
  readonly dirty: boolean;
}

/** The ranges of a dirty bitmap, from the start of the image to its end. */
export function* mapBitmap({ bits }: DirtyBitmap): Generator<BitmapRange> {
  for (let start = 0; start < bits.size;) {
    const { dirty, length } = bits.status(start, bits.size - start);
    yield { start, length, dirty };
    start += length;
  }
}
