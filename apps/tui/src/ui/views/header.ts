import { describeRate } from "../../format/bytes.ts";
import type { Frame } from "../frame.ts";
import { fitLine, type Line, segment, type Segment, spread } from "../draw/line.ts";
import { type Glyphs, spell } from "../glyphs.ts";
import { showName } from "../model/cells.ts";
import { STATE_WORDS, stateTone } from "../model/state-word.ts";

/** Rows that {@link drawHeader} takes. */
export const HEADER_ROWS = 2;

// Below this the totals need the room more than the comfort does.
const ROOMY_COLUMNS = 100;

function totals({ sample }: Frame, glyphs: Glyphs): Segment[] {
  const counts = new Map<string, number>();
  for (const view of sample.jobs) counts.set(view.word, (counts.get(view.word) ?? 0) + 1);
  const parts: Segment[] = [];
  for (const word of STATE_WORDS) {
    const count = counts.get(word);
    if (count === undefined) continue;
    if (parts.length > 0) parts.push(segment(` ${glyphs.bullet} `, "dim"));
    parts.push(segment(`${count} ${word.toLowerCase()}`, stateTone(word)));
  }
  return parts.length > 0 ? parts : [segment("no jobs", "dim")];
}

function firstLine(frame: Frame, width: number, glyphs: Glyphs): Line {
  const { endpoint, sample, state } = frame;
  const rate = sample.jobs.reduce((sum, view) => sum + (view.rateBytesPerSec ?? 0), 0);
  const reachable = endpoint.state === "connected";
  const roomy = width >= ROOMY_COLUMNS;
  // Jobs of this very program need no address.
  const named = roomy || endpoint.kind !== "embedded";
  const left: Segment[] = [
    segment(" blockmirror  ", "strong"),
    ...(named ? [segment(`${showName(endpoint.name, glyphs)}  `, "dim")] : []),
    ...(reachable
      ? []
      : [segment(`${endpoint.state.toUpperCase()}  `, endpoint.state === "ended" ? "strong" : "failure")]),
    ...totals(frame, glyphs),
  ];
  const right: Segment[] = [
    segment("  "),
    segment(spell(describeRate(rate), glyphs), "strong"),
    segment(`  ${roomy ? "every " : ""}${state.tickMs / 1000} s `, "dim"),
  ];
  return spread(left, right, width, glyphs.ellipsis);
}

function notes({ state, visible, sample, readOnly, keymap }: Frame): Segment[] {
  const found: Segment[][] = [];
  if (state.frozen)
    found.push([segment(" FROZEN ", "banner"), segment(` ${keymap.label("freeze")} goes on`, "dim")]);
  if (readOnly) found.push([segment("read-only", "warning")]);
  if (state.filter !== "") {
    const matches = `${visible.length} of ${sample.jobs.length}`;
    found.push([segment(`filter ${state.filter}`, "strong"), segment(`  ${matches}`, "dim")]);
  }
  return found.flatMap((note, index) => [segment(index === 0 ? "" : "   ")].concat(note));
}

function ruleLine(frame: Frame, width: number, glyphs: Glyphs): Line {
  const shown = notes(frame);
  if (shown.length === 0) return [segment(glyphs.horizontal.repeat(width), "frame")];
  const line: Line = [segment(`${glyphs.horizontal.repeat(2)} `, "frame"), ...shown, segment(" ")];
  const used = line.reduce((sum, part) => sum + part.text.length, 0);
  const rest = segment(glyphs.horizontal.repeat(Math.max(0, width - used)), "frame");
  return fitLine([...line, rest], width, glyphs.ellipsis);
}

/** Totals and endpoint, and below them a rule that carries the filter and the banners. */
export function drawHeader(frame: Frame, width: number, glyphs: Glyphs): Line[] {
  return [firstLine(frame, width, glyphs), ruleLine(frame, width, glyphs)];
}
