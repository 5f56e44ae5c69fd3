import stringWidth from "string-width";

/** How {@link fit} places a text inside its width. */
export type Align = "left" | "right";

/** ASCII and what bars, charts and frames are drawn with: one column each, whatever stands beside it. */
const ONE_COLUMN_EACH = /^[\u0020-\u007E\u00B7\u2014\u2026\u221E\u2500-\u259F]*$/u;

/** Number of terminal columns a text takes. */
export function textWidth(text: string): number {
  return ONE_COLUMN_EACH.test(text) ? text.length : stringWidth(text);
}

const segmenter = new Intl.Segmenter("en", { granularity: "grapheme" });

function takeColumns(graphemes: readonly string[], columns: number): string {
  let taken = "";
  let used = 0;
  for (const grapheme of graphemes) {
    const width = textWidth(grapheme);
    if (used + width > columns) break;
    taken += grapheme;
    used += width;
  }
  return taken;
}

function graphemesOf(text: string): string[] {
  return Array.from(segmenter.segment(text), (part) => part.segment);
}

/** The columns `from` (inclusive) to `until` (exclusive) of a text. A wide character that is cut in two leaves a blank. */
export function cutColumns(text: string, from: number, until: number): string {
  if (ONE_COLUMN_EACH.test(text)) return text.slice(from, until);
  let kept = "";
  let column = 0;
  for (const grapheme of graphemesOf(text)) {
    const start = column;
    column += textWidth(grapheme);
    if (start >= from && column <= until) kept += grapheme;
    else kept += " ".repeat(Math.max(0, Math.min(column, until) - Math.max(start, from)));
  }
  return kept;
}

/** Cuts the end off, so that the text with its `ellipsis` takes at most `width` columns. */
export function truncateEnd(text: string, width: number, ellipsis = "…"): string {
  if (width <= 0) return "";
  if (textWidth(text) <= width) return text;
  const room = width - textWidth(ellipsis);
  if (room < 0) return takeColumns(graphemesOf(text), width);
  return takeColumns(graphemesOf(text), room) + ellipsis;
}

/** Cuts out the middle: ids and paths differ at both ends. Takes at most `width` columns. */
export function truncateMiddle(text: string, width: number, ellipsis = "…"): string {
  if (width <= 0) return "";
  if (textWidth(text) <= width) return text;
  const room = width - textWidth(ellipsis);
  if (room < 2) return truncateEnd(text, width, ellipsis);
  const graphemes = graphemesOf(text);
  const head = takeColumns(graphemes, Math.ceil(room / 2));
  const tail = takeColumns(graphemes.toReversed(), room - textWidth(head));
  return head + ellipsis + graphemesOf(tail).toReversed().join("");
}

/** Pads or cuts to exactly `width` columns. */
export function fit(text: string, width: number, align: Align = "left", ellipsis = "…"): string {
  const cut = truncateEnd(text, width, ellipsis);
  const padding = " ".repeat(Math.max(0, width - textWidth(cut)));
  return align === "left" ? cut + padding : padding + cut;
}

/** Breaks a text into lines of at most `width` columns, at spaces where possible. Never returns an empty list. */
export function wrapText(text: string, width: number): string[] {
  const limit = Math.max(1, width);
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/u).filter((part) => part !== "")) {
    let rest = word;
    if (line !== "" && textWidth(line) + 1 + textWidth(rest) <= limit) {
      line += ` ${rest}`;
      continue;
    }
    if (line !== "") lines.push(line);
    while (textWidth(rest) > limit) {
      const head = takeColumns(graphemesOf(rest), limit);
      // A grapheme wider than the line cannot be shown at all.
      if (head === "") return lines.length === 0 ? [""] : lines;
      lines.push(head);
      rest = rest.slice(head.length);
    }
    line = rest;
  }
  if (line !== "" || lines.length === 0) lines.push(line);
  return lines;
}
