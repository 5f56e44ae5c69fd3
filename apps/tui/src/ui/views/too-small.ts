import { fit, wrapText } from "../../format/text.ts";
import { type Line, segment } from "../draw/line.ts";

/** Smallest terminal that the UI draws in. */
export const SMALLEST: { readonly columns: number; readonly rows: number } = { columns: 40, rows: 10 };

/** Says that the terminal is too small, in whatever space there is. */
export function drawTooSmall(columns: number, rows: number): Line[] {
  const text = `terminal too small (${columns}x${rows}, need ${SMALLEST.columns}x${SMALLEST.rows})`;
  const lines = wrapText(text, columns).slice(0, rows);
  return lines.map((line) => [segment(fit(line, columns))]);
}
