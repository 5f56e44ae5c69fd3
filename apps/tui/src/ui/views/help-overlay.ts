import { fit, textWidth, truncateMiddle } from "../../format/text.ts";
import { beside, type Line, segment } from "../draw/line.ts";
import type { Frame } from "../frame.ts";
import type { Glyphs } from "../glyphs.ts";
import { keyLabel, type Keymap } from "../key-bindings.ts";
import type { Category, Command, CommandInfo } from "../keymap.ts";
import { showName } from "../model/cells.ts";
import { type Area, innerWidth, type Overlay } from "./overlay.ts";

const KEY_WIDTH = 12;
const COLUMN_WIDTH = 50;
const NARROW_WIDTH = 74;
const WIDE_WIDTH = 2 * COLUMN_WIDTH + 6;

function keysOf({ keys: byMode }: CommandInfo): string {
  // What else a key does in menus and dialogs, their own line of keys says.
  const inViews = new Set([...(byMode.list ?? []), ...(byMode.detail ?? [])]);
  const labels = [...(inViews.size > 0 ? inViews : new Set(Object.values(byMode).flat()))].map(keyLabel);
  while (labels.length > 1 && textWidth(labels.join(" ")) >= KEY_WIDTH) labels.pop();
  return labels.join(" ");
}

/** Help on every command, one block of lines per category, drawn from the keymap itself. */
function commandBlocks(keymap: Keymap, refusal: (command: Command) => string | undefined): Line[][] {
  const blocks = new Map<Category, Line[]>();
  for (const [command, info] of keymap.entries) {
    const block = blocks.get(info.category) ?? [[segment(info.category.toUpperCase(), "heading")]];
    blocks.set(info.category, block);
    const reason = refusal(command);
    const keys = fit(keysOf(info), KEY_WIDTH);
    block.push(
      reason === undefined
        ? [segment(keys, "key"), segment(info.description)]
        : [segment(`${keys}${info.description} (${reason})`, "dim")],
    );
  }
  return [...blocks.values()];
}

function filesBlock({ files }: Frame, width: number, glyphs: Glyphs): Line[] {
  return [
    [segment("FILES", "heading")],
    ...files.map(({ label, path }): Line => [
      segment(fit(label, KEY_WIDTH), "key"),
      segment(truncateMiddle(showName(path, glyphs), width - KEY_WIDTH, glyphs.ellipsis)),
    ]),
  ];
}

interface HelpLines {
  readonly lines: readonly Line[];
  readonly width: number;
  /** Lines that fit into the area. */
  readonly room: number;
}

type Refusal = (command: Command) => string | undefined;

function helpLines(frame: Frame, area: Area, refusal: Refusal, glyphs: Glyphs): HelpLines {
  const twoColumns = area.width >= WIDE_WIDTH + 2;
  const width = twoColumns ? WIDE_WIDTH : NARROW_WIDTH;
  const columnWidth = twoColumns ? COLUMN_WIDTH : innerWidth(NARROW_WIDTH, area);
  const column = [...commandBlocks(frame.keymap, refusal), filesBlock(frame, columnWidth, glyphs)]
    .flatMap((block) => block.concat([[]]))
    .slice(0, -1);
  const half = Math.ceil(column.length / 2);
  const lines = twoColumns
    ? beside(
        [
          { lines: column.slice(0, half), width: COLUMN_WIDTH },
          { lines: column.slice(half), width: COLUMN_WIDTH },
        ],
        2,
      )
    : column;
  return { lines, width, room: Math.max(1, area.height - 2) };
}

/** How far the help can be scrolled in an area, lines. */
export function helpScrollLimit(frame: Frame, area: Area, glyphs: Glyphs): number {
  const { lines, room } = helpLines(frame, area, () => undefined, glyphs);
  return Math.max(0, lines.length - room);
}

/** Every key with what it does; what is not possible now says why. Below them, the files that belong to the program. */
export function drawHelp(
  frame: Frame,
  scroll: number,
  area: Area,
  refusal: Refusal,
  glyphs: Glyphs,
): Overlay {
  const { lines, width, room } = helpLines(frame, area, refusal, glyphs);
  const start = Math.min(scroll, Math.max(0, lines.length - room));
  const more = lines.length > start + room ? "  more below" : "";
  return { title: `Keys${more}`, lines: lines.slice(start, start + room), width };
}
