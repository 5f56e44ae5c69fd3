import { drawPanel } from "../draw/panel.ts";
import { fitLine, type Line, sliceLine } from "../draw/line.ts";
import type { Glyphs } from "../glyphs.ts";
import type { Tone } from "../theme.ts";

/** Space that an overlay may take. */
export interface Area {
  readonly width: number;
  readonly height: number;
}

/** What lies in the middle of the screen, over whatever is there. */
export interface Overlay {
  readonly title: string;
  readonly lines: readonly Line[];
  /** Wanted width with the frame; less when the area is narrower. */
  readonly width: number;
  readonly tone?: Tone;
}

/** Columns for the content of an overlay that wants to be `width` wide. */
export function innerWidth(width: number, area: Area): number {
  return Math.min(width, area.width) - 4;
}

/** Lays a framed box over the middle of an area at the top left of `screen`. It is never larger than the area. */
export function layOver(screen: readonly Line[], overlay: Overlay, area: Area, glyphs: Glyphs): Line[] {
  const { title, lines, tone } = overlay;
  const width = Math.min(overlay.width, area.width);
  const content = lines.slice(0, Math.max(0, area.height - 2));
  const panel = drawPanel(title, content, width, glyphs, tone ?? "heading");
  const top = Math.max(0, Math.floor((area.height - panel.length) / 2));
  const left = Math.max(0, Math.floor((area.width - width) / 2));
  return screen.map((line, row) => {
    const over = panel[row - top];
    if (over === undefined) return line;
    return [
      ...sliceLine(line, 0, left),
      ...fitLine(over, width, glyphs.ellipsis),
      ...sliceLine(line, left + width, area.width),
    ];
  });
}
