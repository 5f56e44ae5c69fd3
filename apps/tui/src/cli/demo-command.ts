import type { Command } from "commander";
import { EmbeddedEngine } from "../engine/embedded-engine.ts";
import { runDemo } from "../demo/run-demo.ts";
import { addDisplayOptions, displayFlags, toDisplay, type DisplayFlags } from "./display-options.ts";
import { EXIT } from "./exit-status.ts";
import { JobView } from "./job-view.ts";

/** Adds `demo`. */
export function addDemoCommand(program: Command, finish: (status: number) => void): void {
  const command = program
    .command("demo")
    .description("make images, a live writer and a mirror; show it and verify the copy at the end");
  addDisplayOptions(command).action(async (flags: DisplayFlags) => {
    finish(await demo({ ...flags, ...displayFlags(command) }));
  });
}

async function demo(flags: DisplayFlags): Promise<number> {
  const engine = new EmbeddedEngine();
  const view = new JobView(engine, toDisplay(flags));
  // JSON output is for programs: what is meant for people goes to the other stream.
  const say = (line: string): void => {
    (view.mode === "json" ? process.stderr : process.stdout).write(`${line}\n`);
  };
  try {
    const verdict = await runDemo(engine, {
      show: (done) => view.show(done, true),
      signal: view.signal,
      say,
    });
    if (verdict === undefined) {
      process.stderr.write("blockmirror: the demo was ended early; its images are removed\n");
      return EXIT.interrupted;
    }
    for (const line of verdict.lines) say(line);
    return verdict.identical ? EXIT.done : EXIT.failed;
  } finally {
    view.close();
  }
}
