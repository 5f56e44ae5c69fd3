import path from "node:path";
import type { RegisteredDriver } from "@blockmirror/block-driver";

/** Formats that images can have. */
export const IMAGE_FORMATS = ["raw", "qcow2"] as const;

/** One of {@link IMAGE_FORMATS}. */
export type ImageFormat = (typeof IMAGE_FORMATS)[number];

/** Bytes that a format may look at to know itself. */
export const PROBE_BYTES = 4096;

/**
 * The format that a file of the user's announces with its first bytes, else raw. Only for files that the user named: what
 * an image names has its format recorded, or is refused.
 * @param head the first {@link PROBE_BYTES} bytes, or all there are.
 */
export function probeFormat(
  drivers: readonly RegisteredDriver[],
  head: Uint8Array,
  size: number,
): ImageFormat {
  let best: ImageFormat = "raw";
  let bestScore = 1;
  for (const driver of drivers) {
    const format = IMAGE_FORMATS.find((name) => name === driver.name);
    const score = driver.probe?.(head, size) ?? 0;
    if (format !== undefined && score > bestScore) {
      best = format;
      bestScore = score;
    }
  }
  return best;
}

/** The format that a file's name promises; undefined where it promises none, as `.img` does not. */
export function formatOfName(filename: string): ImageFormat | undefined {
  const extension = path.extname(filename).toLowerCase();
  return IMAGE_FORMATS.find((format) => extension === `.${format}`);
}
