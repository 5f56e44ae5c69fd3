import { truncateEnd, textWidth } from "../../format/text.ts";
import type { Glyphs } from "../glyphs.ts";
import type { Tone } from "../theme.ts";
import { fitLine, type Line, segment } from "./line.ts";

/** Surrounds lines with a frame of exactly `width` columns, its title set into the top edge. */
export function drawPanel(
  title: string,
  content: readonly Line[],
  width: number,
  glyphs: Glyphs,
  tone: Tone = "heading",
): Line[] {
  const inner = Math.max(0, width - 4);
  const shownTitle = truncateEnd(title, Math.max(0, inner - 2), glyphs.ellipsis);
  const rest = Math.max(0, width - 5 - textWidth(shownTitle));
  return [
    fitLine(
      [
        segment(`${glyphs.topLeft}${glyphs.horizontal} `, "frame"),
        segment(shownTitle, tone),
        segment(` ${glyphs.horizontal.repeat(rest)}${glyphs.topRight}`, "frame"),
      ],
      width,
      glyphs.ellipsis,
    ),
    ...content.map((line) => [
      segment(`${glyphs.vertical} `, "frame"),
      ...fitLine(line, inner, glyphs.ellipsis),
      segment(` ${glyphs.vertical}`, "frame"),
    ]),
    [
      segment(
        glyphs.bottomLeft + glyphs.horizontal.repeat(Math.max(0, width - 2)) + glyphs.bottomRight,
        "frame",
      ),
    ],
  ];
}
