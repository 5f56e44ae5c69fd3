import { formatFigure } from "./format.ts";
import { ratioOf, reachesBar, type Bar, type BenchRow } from "./row.ts";

function describeBar(bar: Bar | undefined, unit: string): string {
  if (bar === undefined) return "";
  const suffix = bar.on === "ratio" ? "x" : ` ${unit}`;
  const { atLeast, atMost } = bar;
  if (atLeast !== undefined && atMost !== undefined) {
    return `${formatFigure(atLeast)} to ${formatFigure(atMost)}${suffix}`;
  }
  return atLeast === undefined
    ? `<= ${formatFigure(atMost ?? Number.NaN)}${suffix}`
    : `>= ${formatFigure(atLeast)}${suffix}`;
}

function verdict(row: BenchRow): string {
  const reached = reachesBar(row);
  if (reached === undefined) return "";
  return reached ? "PASS" : "miss";
}

const HEADINGS = ["figure", "ours", "peer", "", "ratio", "bar", ""];
const RIGHT_ALIGNED = new Set([1, 2, 4]);

function cells(row: BenchRow): readonly string[] {
  const ratio = ratioOf(row);
  return [
    row.figure,
    `${formatFigure(row.ours)} ${row.unit}`,
    row.peer === undefined ? "" : `${formatFigure(row.peer.value)} ${row.unit}`,
    row.peer?.name ?? "",
    ratio === undefined ? "" : `${formatFigure(ratio)}x`,
    describeBar(row.bar, row.unit),
    verdict(row),
  ];
}

/** The rows as a table of plain text; a ratio above 1x is in our favour. */
export function formatTable(rows: readonly BenchRow[]): string {
  const lines = [HEADINGS, ...rows.map((row) => cells(row))];
  const widths = HEADINGS.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  return lines
    .map((line) =>
      line
        .map((text, column) => {
          const width = widths[column] ?? 0;
          return RIGHT_ALIGNED.has(column) ? text.padStart(width) : text.padEnd(width);
        })
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
