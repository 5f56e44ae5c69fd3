import type { ColorMode } from "../terminal/color-policy.ts";
import type { ThemeName } from "../ui/theme.ts";

/** How jobs are shown. */
export type OutputMode = "tui" | "plain" | "json";

/** How the terminal UI looks and behaves; the same for every command that shows it. */
export interface DisplayOptions {
  readonly output?: OutputMode;
  readonly ascii?: boolean;
  readonly color?: ColorMode;
  readonly theme?: ThemeName;
  readonly readOnly?: boolean;
  /** Milliseconds between two lines or two looks. */
  readonly intervalMs: number;
}
