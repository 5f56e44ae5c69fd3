import { type Frame, modeOf } from "../frame.ts";
import { fitLine, type Line, lineWidth, segment } from "../draw/line.ts";
import type { Glyphs } from "../glyphs.ts";
import type { Command } from "../keymap.ts";
import { type Hint, hintsFor } from "../model/hints.ts";

/** Rows that {@link drawKeyHints} takes. */
export const HINT_ROWS = 1;

function hintLine(hint: Hint): Line {
  // Parentheses say "not now" where grey cannot.
  if (hint.refusal !== undefined) return [segment(`(${hint.key} ${hint.label})`, "dim")];
  return [segment(hint.key, "key"), segment(hint.label === "" ? "" : ` ${hint.label}`)];
}

function joined(hints: readonly Hint[]): Line {
  return hints.flatMap((hint, index) => [segment(index === 0 ? " " : "  "), ...hintLine(hint)]);
}

/** Keys that matter now. What does not fit leaves from the middle: help and quit stay. */
export function drawKeyHints(
  frame: Frame,
  width: number,
  refusal: (command: Command) => string | undefined,
  glyphs: Glyphs,
): Line {
  const hints = hintsFor(modeOf(frame), frame.selected, refusal, frame.keymap);
  while (hints.length > 2 && lineWidth(joined(hints)) > width) hints.splice(hints.length - 3, 1);
  return fitLine(joined(hints), width, glyphs.ellipsis);
}
