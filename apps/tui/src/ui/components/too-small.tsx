import type { ReactNode } from "react";
import { fit, wrapText } from "../../format/text.ts";
import { segment } from "../draw/line.ts";
import { Lines } from "./lines.tsx";

/** Smallest terminal that the UI draws in. */
export const SMALLEST: { readonly columns: number; readonly rows: number } = { columns: 40, rows: 10 };

/** Says that the terminal is too small, in whatever space there is. */
export function TooSmall({ columns, rows }: { readonly columns: number; readonly rows: number }): ReactNode {
  const text = `terminal too small (${columns}x${rows}, need ${SMALLEST.columns}x${SMALLEST.rows})`;
  const lines = wrapText(text, columns).slice(0, rows);
  return <Lines lines={lines.map((line) => [segment(fit(line, columns))])} />;
}
