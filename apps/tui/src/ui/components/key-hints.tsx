import { type ReactNode, use } from "react";
import { type Frame, modeOf } from "../frame.ts";
import { fitLine, type Line, lineWidth, segment } from "../draw/line.ts";
import type { Command } from "../keymap.ts";
import { type Hint, hintsFor } from "../model/hints.ts";
import { StyleContext } from "../style-context.ts";
import { Lines } from "./lines.tsx";

/** Rows that {@link KeyHints} takes. */
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
export function KeyHints(props: {
  readonly frame: Frame;
  readonly width: number;
  readonly refusal: (command: Command) => string | undefined;
}): ReactNode {
  const { glyphs } = use(StyleContext);
  const mode = modeOf(props.frame);
  const hints = hintsFor(mode, props.frame.selected, props.refusal);
  while (hints.length > 2 && lineWidth(joined(hints)) > props.width) hints.splice(hints.length - 3, 1);
  return <Lines lines={[fitLine(joined(hints), props.width, glyphs.ellipsis)]} />;
}
