import type { ReactNode } from "react";
import { fit, textWidth } from "../../format/text.ts";
import { beside, type Line, segment } from "../draw/line.ts";
import { type Category, type Command, COMMAND_ENTRIES, type CommandInfo, keyLabel } from "../keymap.ts";
import { type Area, OverlayBox } from "./overlay-box.tsx";

const KEY_WIDTH = 12;
const COLUMN_WIDTH = 50;

function keysOf(info: CommandInfo): string {
  const keys = new Set(Object.values(info.keys).flat());
  return [...keys].slice(0, 3).map(keyLabel).join(" ");
}

/** Help on every command, one block of lines per category, drawn from the key table itself. */
function helpLines(refusal: (command: Command) => string | undefined): Map<Category, Line[]> {
  const blocks = new Map<Category, Line[]>();
  for (const [command, info] of COMMAND_ENTRIES) {
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

/** Every key with what it does; what is not possible now says why. */
export function HelpOverlay(props: {
  readonly area: Area;
  readonly scroll: number;
  readonly refusal: (command: Command) => string | undefined;
}): ReactNode {
  const { area, scroll } = props;
  const blocks = [...helpLines(props.refusal).values()].flatMap((block) => block.concat([[]])).slice(0, -1);
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
  return (
    <OverlayBox area={area} title={`Keys${more}`} lines={lines.slice(start, start + room)} width={width} />
  );
}
