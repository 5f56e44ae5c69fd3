const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
const SUFFIXES = ["", "K", "M", "G", "T"];

/** `2 GiB`; at most two decimals. */
export function formatBytes(bytes: number): string {
  const power = bytes < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(bytes) / 10));
  return `${Number((bytes / 1024 ** power).toFixed(2))} ${UNITS[power]}`;
}

/**
 * Reads a size as the command line writes it: a whole number with an optional K, M, G or T.
 *
 * @throws RangeError for anything else.
 */
export function parseBytes(text: string): number {
  const [, digits, suffix = ""] = /^(\d+)([KMGT]?)$/iu.exec(text) ?? [];
  const bytes = Number(digits) * 1024 ** SUFFIXES.indexOf(suffix.toUpperCase());
  if (!Number.isSafeInteger(bytes)) throw new RangeError(`not a size: ${text}; write it as 256M or 2G`);
  return bytes;
}

/** Three significant digits, and no exponent. */
export function formatFigure(value: number): string {
  if (!Number.isFinite(value)) return "-";
  const digits = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(digits, 3));
}
