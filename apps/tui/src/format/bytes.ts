/** Shown where a number is not known. One column wide. */
export const UNKNOWN = "—";

/** Width of every text that {@link formatBytes} returns. */
export const BYTES_WIDTH = 8;

/** Width of every text that {@link formatRate} returns. */
export const RATE_WIDTH = 10;

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;

interface Quantity {
  readonly number: string;
  readonly unit: string;
}

// Three significant digits: fewer digits jump less, and the width stays the same. Switching units at 1000 instead of
// 1024 keeps four-digit numbers out.
function quantify(bytes: number): Quantity {
  let value = bytes;
  let index = 0;
  while (index < UNITS.length - 1 && Math.round(value) >= 1000) {
    value /= 1024;
    index++;
  }
  const unit = UNITS[index] ?? "B";
  if (index === 0) return { number: String(Math.round(value)), unit };
  if (Math.round(value) >= 10_000) return { number: ">999", unit };
  // Decide the decimals on the rounded value, so that 9.999 is 10.0 and not 10.00.
  const decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return { number: value.toFixed(decimals), unit };
}

function isAmount(value: number | undefined): value is number {
  return value !== undefined && Number.isFinite(value) && value >= 0;
}

/**
 * Bytes in binary units with three significant digits, always {@link BYTES_WIDTH} columns: `1.23 GiB`, ` 512 B  `.
 * Unknown, negative and non-finite amounts show as a dash.
 */
export function formatBytes(bytes: number | undefined): string {
  if (!isAmount(bytes)) return UNKNOWN.padStart(BYTES_WIDTH);
  const { number, unit } = quantify(bytes);
  return `${number.padStart(4)} ${unit.padEnd(3)}`;
}

/** The same amount inside a sentence: no padding. */
export function describeBytes(bytes: number | undefined): string {
  return formatBytes(bytes).trim();
}

/** Bytes per second, always {@link RATE_WIDTH} columns. Unknown shows as a dash. */
export function formatRate(bytesPerSec: number | undefined): string {
  if (!isAmount(bytesPerSec)) return UNKNOWN.padStart(RATE_WIDTH);
  const { number, unit } = quantify(bytesPerSec);
  return `${number.padStart(4)} ${`${unit}/s`.padEnd(5)}`;
}

/** The same rate inside a sentence: no padding. */
export function describeRate(bytesPerSec: number | undefined): string {
  return formatRate(bytesPerSec).trim();
}

/** A speed limit, {@link RATE_WIDTH} columns; 0 is `none`. */
export function formatLimit(bytesPerSec: number): string {
  return bytesPerSec === 0 ? "none".padStart(RATE_WIDTH) : formatRate(bytesPerSec);
}

/**
 * The shortest exact spelling that {@link parseSize} reads back to the same number: `64K`, `1536M`, `1000`.
 * @throws RangeError when `bytes` is not a non-negative safe integer.
 */
export function formatExactSize(bytes: number): string {
  if (!Number.isSafeInteger(bytes) || bytes < 0) {
    throw new RangeError(`a size is a non-negative safe integer of bytes, not ${bytes}`);
  }
  if (bytes === 0) return "0";
  let value = bytes;
  let index = 0;
  while (index < UNITS.length - 1 && value % 1024 === 0) {
    value /= 1024;
    index++;
  }
  return index === 0 ? String(value) : `${value}${UNITS[index]?.charAt(0) ?? ""}`;
}

/** What {@link parseSize} found. */
export type ParsedSize =
  | { readonly ok: true; readonly bytes: number }
  | {
      readonly ok: false;
      /** What is wrong and what to write instead, one line. */
      readonly reason: string;
    };

const SIZE = /^(?<number>\d+(?:\.\d*)?|\.\d+)\s*(?<unit>[kmgtp]?)(?<suffix>i?b|)$/iu;

/**
 * Reads a size as an operator writes it: `0`, `512`, `64K`, `50M`, `1.5G`, `2TiB`. Units are powers of 1024, in
 * either case. `MB` and its like are refused, because they mean two different things.
 */
export function parseSize(text: string): ParsedSize {
  const trimmed = text.trim();
  if (trimmed === "") return { ok: false, reason: "write a size such as 64K, 50M or 1.5G" };
  const match = SIZE.exec(trimmed);
  const number = match?.groups?.["number"];
  if (number === undefined) {
    return { ok: false, reason: `"${trimmed}" is not a size; write 64K, 50M, 1.5G or plain bytes` };
  }
  const unit = (match?.groups?.["unit"] ?? "").toUpperCase();
  const suffix = (match?.groups?.["suffix"] ?? "").toLowerCase();
  if ((unit !== "" && suffix === "b") || (unit === "" && suffix === "ib")) {
    return { ok: false, reason: `"${trimmed}" is ambiguous; write ${unit === "" ? number : number + unit}` };
  }
  const power = unit === "" ? 0 : UNITS.findIndex((name) => name.startsWith(unit) && name.length === 3);
  const bytes = Number(number) * 1024 ** power;
  if (!Number.isInteger(bytes)) return { ok: false, reason: `"${trimmed}" is not a whole number of bytes` };
  if (bytes > Number.MAX_SAFE_INTEGER)
    return { ok: false, reason: `"${trimmed}" is too large; the limit is 8P` };
  return { ok: true, bytes };
}

/** Reads a speed limit: a size, optionally followed by `/s`; `none` and `unlimited` are 0. */
export function parseSpeed(text: string): ParsedSize {
  const trimmed = text.trim().replace(/\/s(?:ec)?$/iu, "");
  if (/^(?:none|unlimited)$/iu.test(trimmed)) return { ok: true, bytes: 0 };
  return parseSize(trimmed);
}
