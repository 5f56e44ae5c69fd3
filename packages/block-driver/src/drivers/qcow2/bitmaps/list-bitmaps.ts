import type { StoredBitmap } from "../../../contract/bitmap-store.ts";
import { BlockError } from "../../../errors.ts";
import { BitmapFlag, type BitmapEntry } from "../format/bitmap-directory.ts";
import { readBitmapDirectory, type BitmapSource } from "./read-directory.ts";

/** What a directory entry says of its bitmap. */
export function describeBitmap({ name, granularityBits, flags, extraData }: BitmapEntry): StoredBitmap {
  return {
    name,
    granularity: 2 ** granularityBits,
    recording: (flags & BitmapFlag.Auto) !== 0,
    // Extra data that is unknown here says something about the bits.
    inconsistent: (flags & BitmapFlag.InUse) !== 0 || extraData.length > 0,
  };
}

/** The bitmaps of an image, for a description of it: none where their directory makes no sense. */
export async function listBitmaps(source: BitmapSource): Promise<readonly StoredBitmap[]> {
  try {
    return (await readBitmapDirectory(source))?.entries.map(describeBitmap) ?? [];
  } catch (error) {
    if (error instanceof BlockError && error.code === "BLK_CORRUPT") return [];
    throw error;
  }
}
