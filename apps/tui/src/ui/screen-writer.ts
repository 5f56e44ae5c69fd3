import { textWidth } from "../format/text.ts";
import { ansiWriter } from "./draw/ansi-line.ts";
import { joinTones, type Line, lineWidth, type Segment } from "./draw/line.ts";
import type { Theme, Tone } from "./theme.ts";

const BEGIN_SYNCHRONIZED_UPDATE = "\u001B[?2026h";
const END_SYNCHRONIZED_UPDATE = "\u001B[?2026l";
const CLEAR_SCREEN = "\u001B[2J";
const ERASE_TO_END_OF_LINE = "\u001B[K";

function moveTo(row: number, column: number): string {
  return `\u001B[${row + 1};${column + 1}H`;
}

/**
 * Writes pictures to a terminal, and of each only what differs from the one before: rows that changed, from their first
 * stretch of text that did. It owns the whole screen of the terminal and no other state of it.
 */
export class ScreenWriter {
  readonly #out: { write(text: string): unknown };
  readonly #write: (line: Line) => string;
  readonly #isInverse: (tone: Tone) => boolean;
  /** What is on the screen; undefined when that is unknown. */
  #shown: readonly Line[] | undefined;

  constructor(out: { write(text: string): unknown }, theme: Theme, color: boolean) {
    this.#out = out;
    this.#write = ansiWriter(theme, color);
    this.#isInverse = (tone) => theme[tone].inverse === true;
  }

  /** Somebody else wrote to the screen, or its size changed: the next picture is written in full. */
  forget(): void {
    this.#shown = undefined;
  }

  /**
   * Shows a picture.
   * @param columns - of the terminal; no line is wider.
   */
  draw(picture: readonly Line[], columns: number): void {
    const lines = picture.map((line) => withoutTrail(joinTones(line, this.#isInverse), this.#isInverse));
    const shown = this.#shown;
    let text = shown === undefined ? CLEAR_SCREEN : "";
    for (let row = 0; row < Math.max(lines.length, shown?.length ?? 0); row++) {
      text += this.#change(row, shown?.[row] ?? [], lines[row] ?? [], columns);
    }
    this.#shown = lines;
    if (text !== "") this.#out.write(BEGIN_SYNCHRONIZED_UPDATE + text + END_SYNCHRONIZED_UPDATE);
  }

  /** What turns one row into another; empty when it is the same. */
  #change(row: number, before: Line, after: Line, columns: number): string {
    let kept = 0;
    let column = 0;
    // Terminals disagree about the width of rare characters; a column is only counted where there is no doubt.
    while (kept < after.length && isSame(before[kept], after[kept]) && isPlainWidth(after[kept])) {
      column += after[kept]?.text.length ?? 0;
      kept++;
    }
    if (kept === after.length && kept === before.length) return "";
    const rest = after.slice(kept);
    // Behind the last column there is nothing to erase, and a terminal would erase that column itself.
    const erase = column + lineWidth(rest) < columns ? ERASE_TO_END_OF_LINE : "";
    return moveTo(row, column) + this.#write(rest) + erase;
  }
}

function isSame(one: Segment | undefined, other: Segment | undefined): boolean {
  return one !== undefined && other !== undefined && one.text === other.text && one.tone === other.tone;
}

function isPlainWidth(part: Segment | undefined): boolean {
  return part !== undefined && textWidth(part.text) === part.text.length;
}

/** Blanks at the end of a line are what erasing leaves there anyway. */
function withoutTrail(line: Line, isInverse: (tone: Tone) => boolean): Line {
  const last = line.at(-1);
  if (last === undefined || isInverse(last.tone)) return line;
  const text = last.text.trimEnd();
  if (text.length === last.text.length) return line;
  return text === "" ? line.slice(0, -1) : [...line.slice(0, -1), { text, tone: last.tone }];
}
