import type { JobMap } from "../../job-source/job-source.ts";
import type { Glyphs } from "../glyphs.ts";
import type { Tone } from "../theme.ts";
import { type Line, segment, type Segment } from "./line.ts";

interface Cell {
  readonly glyph: string;
  readonly tone: Tone;
}

// A cell whose share rounds to "all" while something is missing would promise too much; so the ends are exact.
function shadeOf(copied: number, shades: readonly string[]): number {
  if (copied >= 1) return shades.length - 1;
  if (copied <= 0) return 0;
  const between = shades.length - 2;
  return 1 + Math.min(between - 1, Math.floor(copied * between));
}

function cellOf(map: JobMap, index: number, glyphs: Glyphs): Cell {
  if ((map.failed[index] ?? 0) > 0) return { glyph: glyphs.mapFailed, tone: "failure" };
  if ((map.inFlight[index] ?? 0) > 0) return { glyph: glyphs.mapInFlight, tone: "in-flight" };
  const shade = shadeOf(map.copied[index] ?? 0, glyphs.mapShades);
  const glyph = glyphs.mapShades[shade] ?? " ";
  if (shade === 0) return { glyph, tone: "dim" };
  return { glyph, tone: shade === glyphs.mapShades.length - 1 ? "done" : "dirty" };
}

/**
 * The disk from its first byte (top left) to its last (bottom right), `columns` cells per line. A cell shows the worst
 * that is true of its range: failed, in flight, or how much of it is copied.
 */
export function drawDiskMap(map: JobMap, columns: number, glyphs: Glyphs): Line[] {
  const lines: Line[] = [];
  for (let start = 0; start < map.cellCount; start += columns) {
    const segments: Segment[] = [];
    let text = "";
    let tone: Tone = "plain";
    const end = Math.min(map.cellCount, start + columns);
    for (let index = start; index < end; index++) {
      const cell = cellOf(map, index, glyphs);
      if (cell.tone !== tone && text !== "") {
        segments.push(segment(text, tone));
        text = "";
      }
      tone = cell.tone;
      text += cell.glyph;
    }
    if (text !== "") segments.push(segment(text, tone));
    lines.push(segments);
  }
  return lines;
}

/** One line that explains {@link drawDiskMap}. */
export function drawMapLegend(glyphs: Glyphs): Line {
  const [none = " ", low = " ", mid = " ", high = " ", all = " "] = glyphs.mapShades;
  return [
    segment(all, "done"),
    segment(" copied  "),
    segment(high + mid + low, "dirty"),
    segment(" partly  "),
    segment(none, "dim"),
    segment(" dirty  "),
    segment(glyphs.mapInFlight, "in-flight"),
    segment(" in flight  "),
    segment(glyphs.mapFailed, "failure"),
    segment(" failed"),
  ];
}
