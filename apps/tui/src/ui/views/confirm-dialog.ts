import { truncateMiddle, wrapText } from "../../format/text.ts";
import { type Frame, nameToType } from "../frame.ts";
import { type Line, segment } from "../draw/line.ts";
import type { Glyphs } from "../glyphs.ts";
import { showName } from "../model/cells.ts";
import { type Confirmation, dialogText } from "../state/confirmation.ts";
import { type Area, innerWidth, type Overlay } from "./overlay.ts";

const DIALOG_WIDTH = 66;

function button(label: string, focused: boolean): Line {
  return [segment(focused ? `> ${label} <` : `  ${label}  `, focused ? "selection" : "plain")];
}

/** A question whose safe answer is the default; where data is at stake, the job's name has to be typed. */
export function drawConfirmDialog(
  frame: Frame,
  confirmation: Confirmation,
  area: Area,
  glyphs: Glyphs,
): Overlay | undefined {
  const { intent, focus, typed } = confirmation;
  const view = intent.kind === "action" ? frame.views.get(intent.jobId) : undefined;
  const text = dialogText(intent, view);
  if (text === undefined) return undefined;
  const inner = innerWidth(DIALOG_WIDTH, area);
  const name = nameToType(frame, confirmation);
  const body: Line[] = text.lines.flatMap((line) => {
    const shown = showName(line, glyphs);
    // Aligned facts lose their middle; sentences break.
    if (/^(?:source|target|state)\s/u.test(shown)) {
      return [[segment(truncateMiddle(shown, inner, glyphs.ellipsis), "dim")]];
    }
    return wrapText(shown, inner).map((part) => [segment(part)]);
  });
  const choice: Line[] =
    name === undefined
      ? [
          [
            ...button(text.cancelLabel, focus === "cancel"),
            segment("   "),
            ...button(`${text.confirmLabel} (y)`, focus === "confirm"),
          ],
        ]
      : [
          [segment("Type "), segment(showName(name, glyphs), "strong"), segment(" and Enter; Esc goes back")],
          [segment("> ", "strong"), segment(typed.text), segment("_", "selection")],
        ];
  const tone = intent.kind === "action" && intent.action === "complete" ? "ready" : "warning";
  return {
    title: showName(text.title, glyphs),
    lines: [[], ...body, [], ...choice, []],
    width: DIALOG_WIDTH,
    tone: name === undefined ? tone : "failure",
  };
}
