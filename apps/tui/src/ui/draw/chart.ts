import { formatBytes, formatRate } from "../../format/bytes.ts";
import { fit } from "../../format/text.ts";
import { spell, type Glyphs } from "../glyphs.ts";
import type { Tone } from "../theme.ts";
import { fitLine, type Line, segment } from "./line.ts";

function level(value: number, max: number, steps: number): number {
  if (!(value > 0) || !(max > 0)) return 0;
  // Anything above zero shows.
  return Math.max(1, Math.min(steps, Math.round((value / max) * steps)));
}

/**
 * A chart one row high: the last `width` values, newest at the right.
 * @param max - value of a full column; rows that share it can be compared.
 */
export function drawSparkline(values: readonly number[], width: number, max: number, glyphs: Glyphs): string {
  const steps = glyphs.levels.length - 1;
  const shown = values.slice(-width);
  return shown
    .map((value) => glyphs.levels[level(value, max, steps)] ?? " ")
    .join("")
    .padStart(width);
}

/** What {@link drawPlot} draws. */
export interface PlotOptions {
  readonly title: string;
  /** Second, quieter half of the title line: current value or a note. */
  readonly note: string;
  /** One value per period, oldest first. */
  readonly values: readonly number[];
  readonly periodSec: number;
  readonly width: number;
  /** Rows of the chart itself; title and time axis come on top. */
  readonly height: number;
  readonly tone: Tone;
  readonly glyphs: Glyphs;
  /** The values are bytes per second instead of bytes. */
  readonly perSecond: boolean;
}

const LABEL_WIDTH = 10;

/** A chart with a scale at its left, a title above and the time below: `height + 2` lines of exactly `width` columns. */
export function drawPlot(options: PlotOptions): Line[] {
  const { glyphs, width, height, tone } = options;
  const columns = Math.max(1, width - LABEL_WIDTH - 2);
  const values = options.values.slice(-columns);
  const max = Math.max(0, ...values);
  const steps = glyphs.levels.length - 1;
  const lines: Line[] = [
    fitLine(
      [segment(options.title, "strong"), segment("  "), segment(options.note, "dim")],
      width,
      glyphs.ellipsis,
    ),
  ];
  for (let row = 0; row < height; row++) {
    const floor = (height - 1 - row) * steps;
    let picture = "";
    for (const value of values) {
      const filled = level(value, max, height * steps) - floor;
      picture += glyphs.levels[Math.max(0, Math.min(steps, filled))] ?? " ";
    }
    const label =
      row === 0 && max > 0
        ? (options.perSecond ? formatRate : formatBytes)(max)
        : row === height - 1
          ? "0"
          : row === 0
            ? glyphs.unknown
            : "";
    lines.push([
      segment(fit(spell(label.trim(), glyphs), LABEL_WIDTH, "right"), "dim"),
      segment(` ${glyphs.axisTick}`, "frame"),
      segment(picture.padStart(columns), tone),
    ]);
  }
  const span = `${columns * options.periodSec}s ago`;
  const rule = glyphs.horizontal.repeat(Math.max(0, columns - span.length - 5));
  lines.push(
    fitLine(
      [
        segment(" ".repeat(LABEL_WIDTH + 1)),
        segment(glyphs.axisCorner, "frame"),
        segment(span, "dim"),
        segment(` ${rule} `, "frame"),
        segment("now", "dim"),
      ],
      width,
      glyphs.ellipsis,
    ),
  );
  return lines;
}
