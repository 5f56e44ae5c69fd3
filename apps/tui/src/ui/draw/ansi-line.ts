import type { AnsiColor, Theme, Tone, ToneStyle } from "../theme.ts";
import type { Line } from "./line.ts";

const COLORS: Readonly<Record<AnsiColor, number>> = {
  black: 30,
  red: 31,
  green: 32,
  yellow: 33,
  blue: 34,
  magenta: 35,
  cyan: 36,
  white: 37,
  gray: 90,
  redBright: 91,
  greenBright: 92,
  yellowBright: 93,
  blueBright: 94,
  magentaBright: 95,
  cyanBright: 96,
  whiteBright: 97,
};

const RESET = "\u001B[0m";

function styleStart({ bold, dimColor, inverse, color }: ToneStyle): string {
  const codes: number[] = [];
  if (bold === true) codes.push(1);
  if (dimColor === true) codes.push(2);
  if (inverse === true) codes.push(7);
  if (color !== undefined) codes.push(COLORS[color]);
  return codes.length === 0 ? "" : `\u001B[${codes.join(";")}m`;
}

/**
 * A function that writes toned lines as a terminal understands them. What it writes ends in the terminal's own style.
 * @param color - false writes text alone: no colours, and no bold and inverse either.
 */
export function ansiWriter(theme: Theme, color: boolean): (line: Line) => string {
  const starts = new Map<Tone, string>();
  const startOf = (tone: Tone): string => {
    const known = starts.get(tone);
    if (known !== undefined) return known;
    const start = color ? styleStart(theme[tone]) : "";
    starts.set(tone, start);
    return start;
  };
  return (line) => {
    let text = "";
    for (const part of line) {
      const start = startOf(part.tone);
      text += start === "" ? part.text : start + part.text + RESET;
    }
    return text;
  };
}
