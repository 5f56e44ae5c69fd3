import { printable } from "../../format/printable.ts";
import { fit, textWidth, truncateMiddle } from "../../format/text.ts";
import { beside, type Line, segment } from "../draw/line.ts";
import type { Frame } from "../frame.ts";
import { keyLabel, type Keymap } from "../key-bindings.ts";
import type { Category, Command, CommandInfo } from "../keymap.ts";
import type { Area, Overlay } from "./overlay.ts";

const KEY_WIDTH = 12;
const COLUMN_WIDTH = 50;

function keysOf(info: CommandInfo): string {
  const keys = new Set(Object.values(info.keys).flat());
  return [...keys].slice(0, 3).map(keyLabel).join(" ");
}

/** Help on every command, one block of lines per category, drawn from the key table itself. */
function helpLines(keymap: Keymap, refusal: (command: Command) => string | undefined): Map<Category, Line[]> {
  const blocks = new Map<Category, Line[]>();
  for (const [command, info] of keymap.entries) {
    const block = blocks.get(info.category) ?? [[segment(info.category.toUpperCase(), "heading")]];
    blocks.set(info.category, block);
    const reason = refusal(command);
    const keys = fit(keysOf(info), Math.max(KEY_WIDTH, textWidth(keysOf(info)) + 1));
    block.push(
      reason === undefined
        ? [segment(keys, "key"), segment(info.description)]
        : [segment(`${keys}${info.description} (${reason})`, "dim")],
    );
  }
  return blocks;
}

/** Every key with what it does; what is not possible now says why. Below them, the files that belong to the program. */
export function drawHelp(
  frame: Frame,
  scroll: number,
  area: Area,
  refusal: (command: Command) => string | undefined,
): Overlay {
  const blocks = [...helpLines(frame.keymap, refusal).values(), filesBlock(frame)]
    .flatMap((block) => block.concat([[]]))
    .slice(0, -1);
  const twoColumns = area.width >= 2 * COLUMN_WIDTH + 8;
  const half = Math.ceil(blocks.length / 2);
  const lines = twoColumns
    ? beside(
        [
          { lines: blocks.slice(0, half), width: COLUMN_WIDTH },
          { lines: blocks.slice(half), width: COLUMN_WIDTH },
        ],
        2,
      )
    : blocks;
  const room = Math.max(1, area.height - 2);
  const start = Math.min(scroll, Math.max(0, lines.length - room));
  const more = lines.length > start + room ? "  more below" : "";
  const width = twoColumns ? 2 * COLUMN_WIDTH + 6 : 74;
  return { title: `Keys${more}`, lines: lines.slice(start, start + room), width };
}

function filesBlock({ files }: Frame): Line[] {
  return [
    [segment("FILES", "heading")],
    ...files.map(({ label, path }): Line => [
      segment(fit(label, KEY_WIDTH), "key"),
      segment(truncateMiddle(printable(path), COLUMN_WIDTH - KEY_WIDTH - 1)),
    ]),
  ];
}
