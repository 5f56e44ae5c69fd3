import { Command, CommanderError } from "commander";
import { BlockError } from "@blockmirror/block-driver";
import { JobError } from "@blockmirror/blockjob";
import { CommandError, EXIT, UsageError } from "./exit-status.ts";
import { addDemoCommand } from "./demo-command.ts";
import { addMirrorCommand } from "./mirror-command.ts";
import { addUiCommand } from "./ui-command.ts";

/** Parses the command line, carries it out, and returns the exit status. Errors become one line on standard error. */
export async function runProgram(args: readonly string[], version: string): Promise<number> {
  let status: number = EXIT.done;
  const finish = (code: number): void => {
    status = code;
  };
  const program = new Command("blockmirror")
    .description("Keeps a live copy of a disk image while it is being written.")
    .version(`blockmirror ${version}`, "-V, --version")
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, "blockmirror: ")) })
    .showSuggestionAfterError()
    .enablePositionalOptions();
  addUiCommand(program, finish);
  addMirrorCommand(program, finish);
  addDemoCommand(program, finish);
  try {
    await program.parseAsync([...args], { from: "user" });
    return status;
  } catch (error) {
    return report(error);
  }
}

function report(error: unknown): number {
  // Commander has printed its own message, and help and version are no errors.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
  if (error instanceof UsageError) return fail(error.message, EXIT.usage);
  if (error instanceof CommandError || error instanceof BlockError || error instanceof JobError) {
    return fail(error.message, EXIT.failed);
  }
  throw error;
}

function fail(message: string, status: number): number {
  process.stderr.write(`blockmirror: ${message}\n`);
  return status;
}
