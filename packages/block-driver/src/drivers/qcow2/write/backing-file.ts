import type { NamedBacking } from "../../../contract/device.ts";
import { BlockError } from "../../../errors.ts";
import { Autoclear, ExtensionType, Limits } from "../format/constants.ts";
import { withExtension } from "../format/extensions.ts";
import { encodeHeaderCluster, type HeaderCluster } from "../format/header-cluster.ts";
import { hasFeature } from "../format/header.ts";
import type { Image } from "../image.ts";
import { switchHeader } from "../metadata/header-switch.ts";
import type { WriteState } from "./write-state.ts";

/**
 * The header cluster that records `backing`, or none for null.
 * @throws BlockError `EINVAL` when the image cannot record it.
 */
export function headerWithBacking(image: Image, backing: NamedBacking | null): HeaderCluster {
  const { header, label } = image;
  if (backing !== null) mustBeRecordable(image, backing);
  const format = backing?.format === undefined ? undefined : new TextEncoder().encode(backing.format);
  const changed: HeaderCluster = {
    header,
    extensions: withExtension(image.extensions, ExtensionType.BackingFormat, format),
    backingName: backing?.filename,
  };
  try {
    encodeHeaderCluster(changed, label);
  } catch (error) {
    if (error instanceof BlockError && error.code === "ENOSPC") throw refusal(image, error.message);
    throw error;
  }
  return changed;
}

/** Records the backing file. Nothing else writes meanwhile. */
export async function recordBackingFile(state: WriteState, backing: NamedBacking | null): Promise<void> {
  const { image } = state;
  // Whatever was linked before must not depend on a header that a crash may bring back.
  await state.commit.flush();
  await switchHeader(state, headerWithBacking(image, backing));
  image.backingFormat = backing?.format;
}

function mustBeRecordable(image: Image, { filename, format }: NamedBacking): void {
  const { label, header } = image;
  const bytes = Buffer.byteLength(filename);
  if (bytes === 0 || bytes > Limits.backingNameBytes || filename.includes("\0")) {
    throw refusal(
      image,
      `${label}: a backing file name has 1 to ${Limits.backingNameBytes} bytes without NUL, and this one ${bytes}; use a shorter path`,
    );
  }
  if (format !== undefined && (format === "" || Buffer.byteLength(format) > Limits.backingFormatBytes)) {
    throw refusal(
      image,
      `${label}: the name of a backing format has 1 to ${Limits.backingFormatBytes} bytes, not '${format}'`,
    );
  }
  if (hasFeature(header.autoclear, Autoclear.RawDataFile)) {
    throw refusal(image, `${label}: an image with a raw data file has no backing file`);
  }
}

function refusal(image: Image, message: string): BlockError {
  return new BlockError("EINVAL", message, { node: image.label, operation: "changeBackingFile" });
}
