/** The characters pictures are made of. Each is exactly one column wide. */
export interface Glyphs {
  readonly ascii: boolean;
  readonly ellipsis: string;
  readonly unknown: string;
  readonly bullet: string;
  readonly arrow: string;
  readonly sortUp: string;
  readonly sortDown: string;
  /** Progress bar: a finished cell, its eighths (smallest first), in flight, dirty, and a job of unknown length. */
  readonly barDone: string;
  readonly barEighths: readonly string[];
  readonly barInFlight: string;
  readonly barDirty: string;
  readonly barUnknown: string;
  /** Bar charts, emptiest first; the first stands for zero. */
  readonly levels: readonly string[];
  /** Map cells from all dirty to all copied. */
  readonly mapShades: readonly string[];
  readonly mapInFlight: string;
  readonly mapFailed: string;
  readonly horizontal: string;
  readonly vertical: string;
  readonly topLeft: string;
  readonly topRight: string;
  readonly bottomLeft: string;
  readonly bottomRight: string;
  readonly axisTick: string;
  readonly axisCorner: string;
}

const UNICODE: Glyphs = {
  ascii: false,
  ellipsis: "…",
  unknown: "—",
  bullet: "·",
  arrow: "→",
  sortUp: "▲",
  sortDown: "▼",
  barDone: "█",
  barEighths: ["▏", "▎", "▍", "▌", "▋", "▊", "▉"],
  barInFlight: "▒",
  barDirty: "░",
  barUnknown: "·",
  levels: [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
  mapShades: ["·", "░", "▒", "▓", "█"],
  mapInFlight: "▞",
  mapFailed: "X",
  horizontal: "─",
  vertical: "│",
  topLeft: "╭",
  topRight: "╮",
  bottomLeft: "╰",
  bottomRight: "╯",
  axisTick: "┤",
  axisCorner: "└",
};

const ASCII: Glyphs = {
  ascii: true,
  ellipsis: "~",
  unknown: "-",
  bullet: ".",
  arrow: ">",
  sortUp: "^",
  sortDown: "v",
  barDone: "#",
  barEighths: [],
  barInFlight: ">",
  barDirty: ".",
  barUnknown: " ",
  levels: [" ", "_", ".", ":", "-", "=", "+", "*", "#"],
  mapShades: [".", ":", "-", "=", "#"],
  mapInFlight: "+",
  mapFailed: "X",
  horizontal: "-",
  vertical: "|",
  topLeft: "+",
  topRight: "+",
  bottomLeft: "+",
  bottomRight: "+",
  axisTick: "|",
  axisCorner: "+",
};

/** The set for a terminal, see `prefersAscii`. */
export function glyphsFor(ascii: boolean): Glyphs {
  return ascii ? ASCII : UNICODE;
}

const REPLACEMENTS: ReadonlyMap<string, string> = new Map([
  ["…", "~"],
  ["—", "-"],
  ["∞", "inf"],
  ["·", "."],
  ["→", "->"],
]);

/**
 * Spells the few symbols of formatted numbers in ASCII, keeping the width: what a replacement is longer takes from
 * the padding before it.
 */
export function spell(text: string, glyphs: Glyphs): string {
  if (!glyphs.ascii) return text;
  return text.replace(/ *[…—∞·→]/gu, (match) => {
    const replacement = REPLACEMENTS.get(match.slice(-1)) ?? "?";
    return replacement.padStart(Math.max(match.length, replacement.length));
  });
}
