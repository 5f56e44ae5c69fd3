import type { Command } from "commander";
import { EmbeddedEngine } from "../engine/embedded-engine.ts";
import { addDisplayOptions, toDisplay, type DisplayFlags } from "./display-options.ts";
import { EXIT, UsageError } from "./exit-status.ts";
import { chooseOutput, showJobs } from "./show-jobs.ts";

/** The program without a command: the terminal UI on an engine without jobs; `n` starts one. */
export function addUiCommand(program: Command, finish: (status: number) => void): void {
  addDisplayOptions(program).action(async (flags: DisplayFlags) => {
    finish(await ui(flags));
  });
}

async function ui(flags: DisplayFlags): Promise<number> {
  if (chooseOutput(flags.output) !== "tui") {
    throw new UsageError(
      "without a command the terminal UI is shown, and this is no terminal; see blockmirror --help",
    );
  }
  const engine = new EmbeddedEngine();
  try {
    // Nothing ends it but the user.
    const shown = await showJobs(engine, toDisplay(flags), new Promise(() => {}), false);
    if (shown === "quit") await engine.cancelAll({ force: false });
    return shown === "interrupted" ? EXIT.interrupted : EXIT.done;
  } finally {
    await engine.close();
  }
}
