import type { Command } from "commander";
import { EmbeddedEngine } from "../engine/embedded-engine.ts";
import { runDemo } from "../demo/run-demo.ts";
import { addDisplayOptions, toDisplay, type DisplayFlags } from "./display-options.ts";
import { EXIT } from "./exit-status.ts";
import { chooseOutput, showJobs } from "./show-jobs.ts";

/** Adds `demo`. */
export function addDemoCommand(program: Command, finish: (status: number) => void): void {
  const command = program
    .command("demo")
    .description("make images, a live writer and a mirror; show it and verify the copy at the end");
  addDisplayOptions(command).action(async (flags: DisplayFlags) => {
    finish(await demo(flags));
  });
}

async function demo(flags: DisplayFlags): Promise<number> {
  const mode = chooseOutput(flags.output);
  const engine = new EmbeddedEngine();
  // JSON output is for programs: what is meant for people goes to the other stream.
  const say = (line: string): void => {
    (mode === "json" ? process.stderr : process.stdout).write(`${line}\n`);
  };
  const verdict = await runDemo(engine, (done) => showJobs(engine, toDisplay(flags), done, true), say);
  if (verdict === undefined) return EXIT.interrupted;
  for (const line of verdict.lines) say(line);
  return verdict.identical ? EXIT.done : EXIT.failed;
}
