import { Option, type Command } from "commander";
import { THEME_NAMES, type ThemeName } from "../ui/theme.ts";
import { choiceArgument } from "./arguments.ts";
import { UsageError } from "./exit-status.ts";
import type { DisplayOptions, OutputMode } from "./display.ts";

const OUTPUTS = ["tui", "plain", "json"] as const;
const COLORS = ["auto", "always", "never"] as const;

/** The options as commander hands them over. */
export interface DisplayFlags {
  readonly output?: OutputMode;
  readonly ascii?: boolean;
  readonly color?: (typeof COLORS)[number];
  readonly theme?: ThemeName;
  readonly readOnly?: boolean;
  readonly interval: number;
}

/** Adds the options of everything that shows jobs. `readOnly` says what `--read-only` means there. */
export function addDisplayOptions(
  command: Command,
  readOnly = "watch only: no keys that change anything",
): Command {
  return command
    .addOption(
      new Option("--output <mode>", "tui, plain or json; without a terminal: plain").argParser(
        choiceArgument("--output", OUTPUTS),
      ),
    )
    .addOption(new Option("--interval <seconds>", "time between two updates").argParser(seconds).default(1))
    .option("--ascii", "draw with ASCII characters only")
    .addOption(new Option("--color <when>", COLORS.join(", ")).argParser(choiceArgument("--color", COLORS)))
    .addOption(
      new Option("--theme <name>", THEME_NAMES.join(", ")).argParser(choiceArgument("--theme", THEME_NAMES)),
    )
    .option("--read-only", readOnly);
}

/** The display options given on the command line, before the command's name or after it; what stands last wins. */
export function displayFlags(command: Command): Partial<DisplayFlags> {
  const flags: Record<string, unknown> = {};
  for (const scope of [command.parent, command]) {
    for (const [name, value] of Object.entries(scope?.opts() ?? {})) {
      if (scope?.getOptionValueSource(name) === "cli") flags[name] = value;
    }
  }
  return flags;
}

/** The options as the display takes them. */
export function toDisplay(flags: DisplayFlags): DisplayOptions {
  const { interval, ...rest } = flags;
  return { ...rest, intervalMs: Math.round(interval * 1000) };
}

function seconds(text: string): number {
  const value = Number(text);
  if (!(value >= 0.05 && value <= 3600)) {
    throw new UsageError(`--interval ${text}: must be from 0.05 to 3600 seconds`);
  }
  return value;
}
