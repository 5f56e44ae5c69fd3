import { textWidth, truncateMiddle, wrapText } from "../../format/text.ts";
import { type Line, lineWidth, segment } from "../draw/line.ts";
import type { Glyphs } from "../glyphs.ts";
import { showName } from "../model/cells.ts";
import {
  defaultJobId,
  type FormField,
  isChoice,
  isShown,
  isTextField,
  type NewJobForm,
  problemOf,
} from "../state/new-job-form.ts";
import { type Area, innerWidth, type Overlay } from "./overlay.ts";

const FORM_WIDTH = 76;
const LABEL_WIDTH = 14;

const LABELS: readonly (readonly [FormField, string, string])[] = [
  ["sourcePath", "Source", "path of the image to copy"],
  ["targetPath", "Target", "path of the copy"],
  ["sync", "Sync", ""],
  ["bitmap", "Bitmap", "name of a dirty bitmap of the source"],
  ["existing", "Existing", ""],
  ["targetFormat", "Format", ""],
  ["largerTarget", "Larger target", ""],
  ["backingMode", "Backing", ""],
  ["replaces", "Replaces", "the source"],
  ["copyMode", "Copy mode", ""],
  ["speed", "Speed limit", "none"],
  ["onSourceError", "Source error", ""],
  ["onTargetError", "Target error", ""],
  ["unmap", "Holes", ""],
  ["detectZeroes", "Find zeroes", ""],
  ["granularity", "Granularity", "chosen for the target"],
  ["bufferSize", "Buffer", "16M"],
  ["id", "Name", ""],
];

/** The part of a text around its cursor that fits. */
function aroundCursor(text: string, cursor: number, width: number): Line {
  const before = Array.from(text.slice(0, cursor));
  const after = Array.from(text.slice(cursor));
  const under = after.shift() ?? "_";
  while (before.length > 0 && textWidth(before.join("")) + textWidth(under) > width) before.shift();
  const used = textWidth(before.join("")) + textWidth(under);
  while (after.length > 0 && used + textWidth(after.join("")) > width) after.pop();
  return [segment(before.join("")), segment(under, "selection"), segment(after.join(""))];
}

function valueOf(
  form: NewJobForm,
  field: FormField,
  placeholder: string,
  width: number,
  glyphs: Glyphs,
): Line {
  const focused = form.focus === field;
  if (isChoice(field)) return choices(form.options[field], form.choices[field], width);
  if (!isTextField(field)) return [];
  const { text, cursor } = form.texts[field];
  if (focused) {
    const line = aroundCursor(text, cursor, width);
    if (cursor < text.length || form.suggestion === "") return line;
    // Behind the cursor, so that it does not look as if it had been typed.
    const room = width - lineWidth(line);
    return [
      ...line,
      segment(truncateMiddle(showName(form.suggestion, glyphs), room, glyphs.ellipsis), "dim"),
    ];
  }
  if (text !== "") return [segment(truncateMiddle(showName(text, glyphs), width, glyphs.ellipsis))];
  const hint = field === "id" ? defaultJobId(form.texts.sourcePath.text) : placeholder;
  return [segment(hint, "dim")];
}

function choices(options: readonly string[], chosen: string, width: number): Line {
  const all = options.map((option) =>
    option === chosen ? segment(`[${option}] `, "strong") : segment(` ${option}  `, "dim"),
  );
  if (lineWidth(all) <= width) return all;
  const place = `${options.indexOf(chosen) + 1} of ${options.length}`;
  return [segment(`[${chosen}] `, "strong"), segment(` ${place}`, "dim")];
}

/** The form of a new mirror job; complaints stand below the field they are about. */
export function drawNewJobForm(form: NewJobForm, area: Area, glyphs: Glyphs): Overlay {
  const inner = innerWidth(FORM_WIDTH, area);
  const lines: Line[] = [[]];
  let focusedLine = 0;
  const complain = (field: FormField): void => {
    const problem = problemOf(form, field);
    if (problem === undefined) return;
    for (const part of wrapText(showName(problem, glyphs), inner - LABEL_WIDTH - 4)) {
      lines.push([segment(" ".repeat(LABEL_WIDTH + 2)), segment(`! ${part}`, "failure")]);
    }
  };
  for (const [field, label, placeholder] of LABELS) {
    if (!isShown(form, field)) continue;
    const focused = form.focus === field;
    if (focused) focusedLine = lines.length;
    lines.push([
      segment(focused ? "> " : "  ", "strong"),
      segment(label.padEnd(LABEL_WIDTH), focused ? "strong" : "dim"),
      ...valueOf(form, field, placeholder, inner - LABEL_WIDTH - 2, glyphs),
    ]);
    complain(field);
  }
  const onButton = form.focus === "start";
  if (onButton) focusedLine = lines.length + 1;
  const caption = form.busy ? "  checking  " : onButton ? "> Start <" : "  Start  ";
  lines.push([], [segment(" ".repeat(LABEL_WIDTH + 2)), segment(caption, onButton ? "selection" : "plain")]);
  complain("start");
  // In a low terminal the focused field stays in sight.
  const room = Math.max(1, area.height - 2);
  const start = Math.max(0, Math.min(focusedLine - room + 3, lines.length - room));
  return { title: "New mirror", lines: lines.slice(start), width: FORM_WIDTH };
}
