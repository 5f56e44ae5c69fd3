import type { Command } from "commander";
import { EmbeddedEngine } from "../engine/embedded-engine.ts";
import { describeEnd } from "../output/describe-end.ts";
import { addDisplayOptions, toDisplay, type DisplayFlags } from "./display-options.ts";
import { EXIT, UsageError } from "./exit-status.ts";
import { JobView, chooseOutput } from "./job-view.ts";
import { unknownCommand } from "./unknown-command.ts";

/** The program without a command: the terminal UI on an engine without jobs; `n` starts one. */
export function addUiCommand(program: Command, finish: (status: number) => void): void {
  addDisplayOptions(program)
    // What is no command arrives here as an argument, and is better called by its name.
    .allowExcessArguments()
    .action(async (flags: DisplayFlags, command: Command) => {
      const [word] = command.args;
      if (word !== undefined) {
        throw unknownCommand(
          word,
          program.commands.map((each) => each.name()),
        );
      }
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
  const view = new JobView(engine, toDisplay(flags));
  try {
    // Nothing ends it but the user.
    const shown = await view.show(new Promise(() => {}), false);
    if (shown === "quit") await engine.cancelAll({ force: false });
    tellEnds(engine);
    return shown === "interrupted" ? EXIT.interrupted : EXIT.done;
  } finally {
    try {
      await engine.close();
    } finally {
      view.close();
    }
  }
}

/** The table is gone with the screen; how its jobs ended stays on the terminal. */
function tellEnds(engine: EmbeddedEngine): void {
  for (const job of engine.list()) {
    const end = job.cancelled === true ? "cancelled" : job.error === undefined ? "completed" : "failed";
    const why = job.error === undefined ? "" : `: ${job.error.message}`;
    process.stdout.write(`${describeEnd(job, end)}${why}\n`);
  }
}
