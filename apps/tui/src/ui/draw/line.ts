import { cutColumns, textWidth, truncateEnd } from "../../format/text.ts";
import type { Tone } from "../theme.ts";

/** A stretch of text of one tone. */
export interface Segment {
  readonly text: string;
  readonly tone: Tone;
}

/** One terminal line. */
export type Line = readonly Segment[];

/** Makes a segment; `plain` unless told. */
export function segment(text: string, tone: Tone = "plain"): Segment {
  return { text, tone };
}

/** The text of a line without its tones. */
export function lineText(line: Line): string {
  return line.map((part) => part.text).join("");
}

/** Columns a line takes. */
export function lineWidth(line: Line): number {
  return line.reduce((sum, part) => sum + textWidth(part.text), 0);
}

/** Cuts or pads a line to exactly `width` columns. */
export function fitLine(line: Line, width: number, ellipsis = "…"): Line {
  const total = lineWidth(line);
  if (total === width) return line;
  if (total < width) return [...line, segment(" ".repeat(width - total))];
  const kept: Segment[] = [];
  let used = 0;
  for (const part of line) {
    const partWidth = textWidth(part.text);
    if (used + partWidth > width - textWidth(ellipsis)) {
      const room = width - used;
      const cut = truncateEnd(part.text + ellipsis.repeat(room), room, ellipsis);
      kept.push({ text: cut, tone: part.tone });
      used += textWidth(cut);
      break;
    }
    kept.push(part);
    used += partWidth;
  }
  // A wide character may leave one column over.
  return used < width ? [...kept, segment(" ".repeat(width - used))] : kept;
}

/** The columns `from` (inclusive) to `until` (exclusive) of a line; what it does not reach is blank. */
export function sliceLine(line: Line, from: number, until: number): Line {
  const kept: Segment[] = [];
  let column = 0;
  for (const part of line) {
    const start = column;
    column += textWidth(part.text);
    if (column <= from || start >= until) continue;
    const text = cutColumns(part.text, Math.max(0, from - start), until - start);
    kept.push({ text, tone: part.tone });
  }
  return fitLine(kept, Math.max(0, until - from));
}

/** Left and right part on one line of exactly `width` columns; the left one gives way. */
export function spread(left: Line, right: Line, width: number, ellipsis = "…"): Line {
  const rightWidth = lineWidth(right);
  if (rightWidth >= width) return fitLine(right, width, ellipsis);
  return [...fitLine(left, width - rightWidth, ellipsis), ...right];
}

/** Puts lines side by side with `gap` blanks between; each block is padded to its width. */
export function beside(
  blocks: readonly { readonly lines: readonly Line[]; readonly width: number }[],
  gap: number,
): Line[] {
  const height = Math.max(0, ...blocks.map((block) => block.lines.length));
  return Array.from({ length: height }, (_, row) =>
    blocks.flatMap((block, index) => [
      ...(index === 0 ? [] : [segment(" ".repeat(gap))]),
      ...fitLine(block.lines[row] ?? [], block.width),
    ]),
  );
}

/**
 * The same line in as few segments as possible. Blanks have no colour, so they join whatever stands before them,
 * unless one of the two is `inverse`, where blanks show. Most of the cost of a frame is per segment.
 */
export function joinTones(line: Line, isInverse: (tone: Tone) => boolean): Line {
  const joined: Segment[] = [];
  let text = "";
  let tone: Tone = "plain";
  for (const part of line) {
    if (part.text === "") continue;
    const joins =
      part.tone === tone || (part.text.trim() === "" && !isInverse(part.tone) && !isInverse(tone));
    if (joins) {
      text += part.text;
      continue;
    }
    if (text !== "") joined.push({ text, tone });
    ({ text, tone } = part);
  }
  if (text !== "") joined.push({ text, tone });
  return joined;
}
