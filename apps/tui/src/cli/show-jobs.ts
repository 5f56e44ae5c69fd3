import type { EmbeddedEngine } from "../engine/embedded-engine.ts";
import { reportJobs } from "../output/event-lines.ts";
import { jsonWording } from "../output/json.ts";
import { plainWording } from "../output/plain.ts";
import { prefersAscii } from "../terminal/charset.ts";
import { applyColorPolicy, wantsColor, type ColorMode } from "../terminal/color-policy.ts";
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

/** How the showing ended: by itself, when `done` settled, or because the user wants out. */
export type ShowResult = "done" | "interrupted" | "quit";

/** Plain lines unless a person sits at a terminal with both its ends. */
export function chooseOutput(wanted: OutputMode | undefined): OutputMode {
  if (wanted !== undefined) return wanted;
  return process.stdout.isTTY && process.stdin.isTTY && process.env["TERM"] !== "dumb" ? "tui" : "plain";
}

/**
 * Shows the engine's jobs until `done` settles or the user ends it. The first interrupt cancels the jobs in order and
 * waits for them; the second gives up at once. In the terminal UI the user leaves when he likes; `done` settling does not
 * end it unless `closeWhenDone`.
 */
export async function showJobs(
  engine: EmbeddedEngine,
  display: DisplayOptions,
  done: Promise<unknown>,
  closeWhenDone: boolean,
): Promise<ShowResult> {
  const mode = chooseOutput(display.output);
  return mode === "tui"
    ? showUi(engine, display, done, closeWhenDone)
    : showLines(engine, display, mode, done);
}

async function showLines(
  engine: EmbeddedEngine,
  display: DisplayOptions,
  mode: "plain" | "json",
  done: Promise<unknown>,
): Promise<ShowResult> {
  const wording = mode === "json" ? jsonWording : plainWording;
  const reporter = reportJobs(engine, process.stdout, wording, display.intervalMs);
  let interrupts = 0;
  const interrupt = (signal: NodeJS.Signals): void => {
    interrupts += 1;
    const force = interrupts > 1;
    process.stderr.write(
      force
        ? `blockmirror: ${signal} again: stopping at once\n`
        : `blockmirror: ${signal}: cancelling in order; once more stops at once\n`,
    );
    void engine.cancelAll({ force });
  };
  process.on("SIGINT", interrupt);
  process.on("SIGTERM", interrupt);
  process.on("SIGHUP", interrupt);
  try {
    await done;
    return interrupts > 0 ? "interrupted" : "done";
  } finally {
    process.off("SIGINT", interrupt);
    process.off("SIGTERM", interrupt);
    process.off("SIGHUP", interrupt);
    reporter.stop();
  }
}

async function showUi(
  engine: EmbeddedEngine,
  display: DisplayOptions,
  done: Promise<unknown>,
  closeWhenDone: boolean,
): Promise<ShowResult> {
  const color = wantsColor(display.color ?? "auto", { env: process.env, isTTY: process.stdout.isTTY });
  applyColorPolicy(color, process.env);
  // Loaded only now: the colour policy has to be set first, and no other output needs it.
  const { startUi } = await import("../ui/start-ui.tsx");
  const until = closeWhenDone ? done.then(() => {}) : undefined;
  const result = await startUi(engine, {
    ...(display.theme !== undefined && { theme: display.theme }),
    ascii: display.ascii ?? prefersAscii({ env: process.env, platform: process.platform }),
    readOnly: display.readOnly ?? false,
    tickMs: display.intervalMs,
    onInterrupt: () => engine.cancelAll({ force: false }),
    onForceInterrupt: () => void engine.cancelAll({ force: true }),
    ...(until !== undefined && { until }),
  });
  if (result.reason === "done") return "done";
  if (result.reason === "quit") return "quit";
  await engine.cancelAll({ force: true });
  return "interrupted";
}
