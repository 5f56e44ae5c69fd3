import type { BlockChild } from "../../contract/device.ts";
import type { Qcow2CheckOptions } from "./check/check-image.ts";
import type { Qcow2CheckReport } from "./check/check-report.ts";
import type { DataRange, Qcow2MeasureOptions, Qcow2Measurement } from "./measure.ts";

// Tools for whole images, each loaded by its first use: a program that mirrors, serves or describes never needs them.

/**
 * Checks a qcow2 image, and repairs it on demand: counts every reference to every cluster, and compares with the
 * refcounts and flags in the file. The image must not be in use by anybody else.
 *
 * Guest data is never changed. Refcounts are only lowered when every table could be read: what seems unused otherwise may
 * belong to a table that could not. The dirty and corrupt marks are removed when a repair leaves nothing to complain of.
 *
 * @param file holds the image; written only with `repair`.
 * @throws BlockError when it is no image or its header makes no sense; `EFBIG` beyond the memory limit; `ECANCELED`.
 */
export async function checkQcow2(
  file: BlockChild,
  options: Qcow2CheckOptions = {},
): Promise<Qcow2CheckReport> {
  const { checkImage } = await import("./check/check-image.ts");
  return checkImage(file, options);
}

/**
 * Says how much space an image will need before it is made, as `qemu-img measure` does: all metadata of a full disk, and
 * the clusters that data touches. Data in an external file counts too. Internal snapshots, bitmaps, and compression,
 * which nobody can foresee, do not.
 * @param data ranges that will be written, ascending and without overlap; none for an empty disk.
 * @throws BlockError `EINVAL` and `EFBIG` as the creation would.
 */
export async function measureQcow2(
  options: Qcow2MeasureOptions,
  data: AsyncIterable<DataRange> | Iterable<DataRange> = [],
): Promise<Qcow2Measurement> {
  const { measureImage } = await import("./measure.ts");
  return measureImage(options, data);
}
