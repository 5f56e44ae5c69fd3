import type { BlockChild } from "../../../contract/device.ts";
import { BlockError } from "../../../errors.ts";
import {
  parseBitmapDirectory,
  parseBitmapsExtension,
  type BitmapEntry,
  type BitmapsExtension,
} from "../format/bitmap-directory.ts";
import { Autoclear, ExtensionType } from "../format/constants.ts";
import { findExtension, type Extension } from "../format/extensions.ts";
import type { Geometry } from "../format/geometry.ts";
import { hasFeature, type Header } from "../format/header.ts";

/** Where an image keeps its bitmaps, and which there are. */
export interface BitmapDirectory {
  readonly extension: BitmapsExtension;
  readonly entries: readonly BitmapEntry[];
}

/** What of an image is needed to find its bitmaps. */
export interface BitmapSource {
  readonly file: BlockChild;
  readonly label: string;
  readonly header: Header;
  readonly extensions: readonly Extension[];
  readonly geometry: Geometry;
}

/**
 * Reads the bitmap directory; undefined when the image has no bitmaps, or none that are up to date: software that does not
 * know bitmaps clears their autoclear bit (qcow2 specification, "Bitmaps extension").
 * @throws BlockError `BLK_CORRUPT` when it makes no sense, and what the file meets.
 */
export async function readBitmapDirectory({
  file,
  label,
  header,
  extensions,
  geometry,
}: BitmapSource): Promise<BitmapDirectory | undefined> {
  const payload = findExtension(extensions, ExtensionType.Bitmaps);
  if (payload === undefined || !hasFeature(header.autoclear, Autoclear.Bitmaps)) return undefined;
  const extension = parseBitmapsExtension(payload, geometry.clusterSize, label);
  const { directoryOffset, directorySize, count } = extension;
  if (directoryOffset + directorySize > file.info.size) {
    throw new BlockError("BLK_CORRUPT", `${label}: the bitmap directory ends beyond the file`, {
      node: label,
    });
  }
  const bytes = new Uint8Array(directorySize);
  await file.read(directoryOffset, [bytes]);
  return { extension, entries: parseBitmapDirectory(bytes, count, geometry.clusterSize, label) };
}
