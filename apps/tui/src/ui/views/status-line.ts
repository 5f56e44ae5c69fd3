import { textWidth, truncateEnd } from "../../format/text.ts";
import type { Frame } from "../frame.ts";
import { fitLine, type Line, segment } from "../draw/line.ts";
import { type Glyphs, spell } from "../glyphs.ts";
import { showName } from "../model/cells.ts";
import { adviceOf, hasErrors } from "../model/fields.ts";
import { cutsAdvice } from "./detail-view.ts";

/** Rows that {@link drawStatusLine} takes. */
export const STATUS_ROWS = 1;

function withCursor(text: string, cursor: number): Line {
  const under = Array.from(text.slice(cursor))[0] ?? "";
  return [
    segment(text.slice(0, cursor)),
    // Without colours there is no inverse either; the underscore at the end still shows where typing goes.
    segment(under === "" ? "_" : under, "selection"),
    segment(text.slice(cursor + under.length)),
  ];
}

function statusLine(frame: Frame, width: number, glyphs: Glyphs): Line {
  const { overlay, status } = frame.state;
  if (overlay?.kind === "filter") {
    return [
      segment(" filter: ", "strong"),
      ...withCursor(overlay.field.text, overlay.field.cursor),
      segment("   words, !words, state:, type:", "dim"),
    ];
  }
  if (overlay?.kind === "limit") {
    const hint = overlay.problem ?? "50M, 1.5G per second; 0 is none";
    return [
      segment(` limit for ${showName(overlay.jobId, glyphs)}: `, "strong"),
      ...withCursor(overlay.field.text, overlay.field.cursor),
      segment(`   ${spell(hint, glyphs)}`, overlay.problem === undefined ? "dim" : "failure"),
    ];
  }
  if (status !== undefined) return [segment(` ${spell(showName(status.text, glyphs), glyphs)}`, status.tone)];
  return adviceLine(frame, width, glyphs);
}

/** What to know of the selected job. The title of its details says that as well, where it has the room. */
function adviceLine(frame: Frame, width: number, glyphs: Glyphs): Line {
  const { selected, keymap, state } = frame;
  const advice = selected === undefined ? undefined : adviceOf(selected, keymap);
  if (advice === undefined || selected === undefined) return [segment(" ")];
  const detailed = state.view === "detail";
  if (detailed && !cutsAdvice(frame, selected, width, glyphs)) return [segment(" ")];
  const text = detailed ? advice.text : `${selected.snapshot.id}: ${advice.text}`;
  const shown = ` ${spell(showName(text, glyphs), glyphs)}`;
  const isCut = textWidth(shown) > width;
  if (!isCut || !hasErrors(selected.snapshot) || state.overlay !== undefined) {
    return [segment(shown, advice.tone)];
  }
  // What to do about an error stands at its end; here one learns at least where to read it.
  const rest = `  ${keymap.label("show-error")} shows all`;
  return [
    segment(truncateEnd(shown, width - textWidth(rest), glyphs.ellipsis), advice.tone),
    segment(rest, "strong"),
  ];
}

/** One line that answers the last action, asks for a short text, or advises on the selected job. */
export function drawStatusLine(frame: Frame, width: number, glyphs: Glyphs): Line {
  return fitLine(statusLine(frame, width, glyphs), width, glyphs.ellipsis);
}
