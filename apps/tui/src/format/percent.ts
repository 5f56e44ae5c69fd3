import { UNKNOWN } from "./bytes.ts";

/** Width of every text that {@link formatPercent} returns. */
export const PERCENT_WIDTH = 5;

/**
 * A share (0..1) as a percentage in {@link PERCENT_WIDTH} columns. Rounds down, and shows 100 only when `finished`:
 * a job at "100%" that cannot be completed yet is a lie operators remember.
 */
export function formatPercent(share: number | undefined, finished: boolean): string {
  if (finished) return "100%".padStart(PERCENT_WIDTH);
  if (share === undefined || Number.isNaN(share)) return UNKNOWN.padStart(PERCENT_WIDTH);
  const tenths = Math.min(999, Math.max(0, Math.floor(share * 1000)));
  return `${(tenths / 10).toFixed(1)}%`.padStart(PERCENT_WIDTH);
}
