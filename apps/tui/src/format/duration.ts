import { UNKNOWN } from "./bytes.ts";

/** Width of every text that {@link formatEta} returns. */
export const ETA_WIDTH = 7;

/** Width of every text that {@link formatElapsed} returns. */
export const ELAPSED_WIDTH = 8;

/** Shown for a job that does not converge. One column wide. */
const NEVER = "∞";

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

function two(value: number): string {
  return String(value).padStart(2, "0");
}

/** A duration in its two largest units, no padding: `42s`, `3m 07s`, `2h 05m`, `3d 04h`, `>999d`. */
export function describeDuration(seconds: number | "never" | undefined): string {
  if (seconds === "never" || seconds === Infinity) return NEVER;
  if (seconds === undefined || Number.isNaN(seconds) || seconds < 0) return UNKNOWN;
  const whole = Math.round(seconds);
  if (whole < MINUTE) return `${whole}s`;
  if (whole < HOUR) return `${Math.floor(whole / MINUTE)}m ${two(whole % MINUTE)}s`;
  if (whole < DAY) return `${Math.floor(whole / HOUR)}h ${two(Math.floor((whole % HOUR) / MINUTE))}m`;
  const days = Math.floor(whole / DAY);
  if (days > 999) return ">999d";
  if (days > 99) return `${days}d`;
  return `${days}d ${two(Math.floor((whole % DAY) / HOUR))}h`;
}

/** Time left, right-aligned in {@link ETA_WIDTH} columns. */
export function formatEta(seconds: number | "never" | undefined): string {
  return describeDuration(seconds).padStart(ETA_WIDTH);
}

/** A running time in {@link ELAPSED_WIDTH} columns: `00:03:12`, ` 3d04:05`. */
export function formatElapsed(ms: number | undefined): string {
  if (ms === undefined || !Number.isFinite(ms) || ms < 0) return UNKNOWN.padStart(ELAPSED_WIDTH);
  const whole = Math.floor(ms / 1000);
  const days = Math.floor(whole / DAY);
  const hours = Math.floor((whole % DAY) / HOUR);
  const minutes = Math.floor((whole % HOUR) / MINUTE);
  if (days > 99) return `>${Math.min(days, 9999)}d`.padStart(ELAPSED_WIDTH);
  if (days > 0) return `${days}d${two(hours)}:${two(minutes)}`.padStart(ELAPSED_WIDTH);
  return `${two(hours)}:${two(minutes)}:${two(whole % MINUTE)}`;
}

/** Wall clock of an event, local time: `14:03:12`. */
export function formatTimeOfDay(epochMs: number): string {
  const date = new Date(epochMs);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}
