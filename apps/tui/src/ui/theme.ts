/** Names of the themes an operator may choose. */
export type ThemeName = "default" | "mono" | "colorblind";

/** Every theme, default first. */
export const THEME_NAMES: readonly ThemeName[] = ["default", "mono", "colorblind"];

/**
 * What a piece of text means. Components speak only of tones; a theme turns them into styles. Meaning is always in
 * the words and shapes as well, so a theme may map everything to nothing.
 */
export type Tone =
  | "plain"
  | "dim"
  | "strong"
  | "heading"
  | "selection"
  | "key"
  | "frame"
  | "running"
  | "ready"
  | "warning"
  | "failure"
  | "done"
  | "in-flight"
  | "dirty"
  | "rate"
  | "banner";

/** One of the sixteen ANSI colours, which follow the user's own palette. */
export type AnsiColor =
  | "black"
  | "red"
  | "green"
  | "yellow"
  | "blue"
  | "magenta"
  | "cyan"
  | "white"
  | "gray"
  | "redBright"
  | "greenBright"
  | "yellowBright"
  | "blueBright"
  | "magentaBright"
  | "cyanBright"
  | "whiteBright";

/** Style of one tone; every part optional. */
export interface ToneStyle {
  readonly color?: AnsiColor;
  readonly bold?: boolean;
  readonly dimColor?: boolean;
  readonly inverse?: boolean;
}

/** A style for every tone. */
export type Theme = Readonly<Record<Tone, ToneStyle>>;

const SHARED = {
  plain: {},
  dim: { dimColor: true },
  strong: { bold: true },
  heading: { bold: true },
  selection: { bold: true, inverse: true },
  key: { bold: true },
  frame: { dimColor: true },
} as const satisfies Partial<Theme>;

const DEFAULT: Theme = {
  ...SHARED,
  key: { bold: true, color: "cyan" },
  running: { color: "green" },
  ready: { color: "cyan", bold: true },
  warning: { color: "yellow" },
  failure: { color: "red", bold: true },
  done: { color: "green" },
  "in-flight": { color: "cyan" },
  dirty: { color: "yellow" },
  rate: { color: "green" },
  banner: { color: "yellow", inverse: true, bold: true },
};

const MONO: Theme = {
  ...SHARED,
  running: {},
  ready: { bold: true },
  warning: { bold: true },
  failure: { bold: true, inverse: true },
  done: {},
  "in-flight": { bold: true },
  dirty: { dimColor: true },
  rate: {},
  banner: { inverse: true, bold: true },
};

// Blue against yellow stays apart for every common kind of colour blindness; red and green never meet.
const COLORBLIND: Theme = {
  ...SHARED,
  key: { bold: true, color: "blueBright" },
  running: { color: "blueBright" },
  ready: { color: "cyanBright", bold: true },
  warning: { color: "yellow" },
  failure: { color: "yellowBright", bold: true, inverse: true },
  done: { color: "blueBright" },
  "in-flight": { color: "whiteBright", bold: true },
  dirty: { color: "yellow" },
  rate: { color: "blueBright" },
  banner: { color: "yellow", inverse: true, bold: true },
};

const THEMES: Readonly<Record<ThemeName, Theme>> = { default: DEFAULT, mono: MONO, colorblind: COLORBLIND };

/** The theme of a name. */
export function themeOf(name: ThemeName): Theme {
  return THEMES[name];
}
