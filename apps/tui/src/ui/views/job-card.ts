import { describeRate } from "../../format/bytes.ts";
import { describeDuration } from "../../format/duration.ts";
import { textWidth, truncateMiddle } from "../../format/text.ts";
import { fitLine, type Line, segment, spread } from "../draw/line.ts";
import { spell } from "../glyphs.ts";
import { type CellContext, markOf, progressCell, showName, stateCell } from "../model/cells.ts";
import type { JobView } from "../model/job-view.ts";
import { STATE_WIDTH } from "../model/state-word.ts";

/** Rows that {@link drawJobCard} takes. */
export const CARD_ROWS = 2;

/** One job on two lines, for terminals too narrow for a table. */
export function drawJobCard(
  view: JobView,
  width: number,
  { glyphs, selected, pending }: Pick<CellContext, "glyphs" | "selected" | "pending">,
): Line[] {
  const name = truncateMiddle(showName(view.snapshot.id, glyphs), width - STATE_WIDTH - 5, glyphs.ellipsis);
  const first = spread(
    [...markOf(view, selected), segment(" "), segment(name, selected ? "selection" : "plain")],
    [segment("  "), stateCell(view, pending, STATE_WIDTH)],
    width,
    glyphs.ellipsis,
  );
  const eta = view.etaSec === undefined ? "" : `  ${describeDuration(view.etaSec)}`;
  const figures = view.concluded ? "" : `  ${describeRate(view.rateBytesPerSec)}${eta}`;
  const text = spell(figures, glyphs);
  const second = [
    segment("   "),
    ...progressCell(view, Math.min(36, width - 3 - textWidth(text)), glyphs),
    segment(text, "dim"),
  ];
  return [first, fitLine(second, width, glyphs.ellipsis)];
}
