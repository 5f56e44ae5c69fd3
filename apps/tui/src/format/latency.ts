import { UNKNOWN } from "./bytes.ts";

/** Width of every text that {@link formatLatency} returns. */
export const LATENCY_WIDTH = 7;

/** A latency with three significant digits, right-aligned in {@link LATENCY_WIDTH} columns: `0.05 ms`, `12.3 ms`, `1.20 s `. */
export function formatLatency(ms: number | undefined): string {
  if (ms === undefined || !(ms >= 0) || ms === Infinity) return UNKNOWN.padStart(LATENCY_WIDTH);
  if (ms < 0.005) return "<.01 ms";
  const inSeconds = Math.round(ms) >= 1000;
  const value = inSeconds ? ms / 1000 : ms;
  if (Math.round(value) >= 10_000) return `>9999 s`;
  const decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return `${value.toFixed(decimals).padStart(4)} ${inSeconds ? "s " : "ms"}`.padStart(LATENCY_WIDTH);
}
