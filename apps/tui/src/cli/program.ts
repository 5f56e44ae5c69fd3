import { Command, CommanderError } from "commander";
import { BlockError } from "@blockmirror/block-driver";
import { JobError } from "@blockmirror/blockjob";
import { RequestError } from "../engine/request-error.ts";
import { EXIT, UsageError } from "./exit-status.ts";
import { addCheckCommand } from "./check-command.ts";
import { addCommitCommand } from "./commit-command.ts";
import { addCompareCommand } from "./compare-command.ts";
import { addCreateCommand } from "./create-command.ts";
import { addAttachCommand } from "./attach-command.ts";
import { addDemoCommand } from "./demo-command.ts";
import { addInfoCommand } from "./info-command.ts";
import { addMapCommand } from "./map-command.ts";
import { addMeasureCommand } from "./measure-command.ts";
import { addMirrorCommand } from "./mirror-command.ts";
import { watchOutput } from "./standard-output.ts";
import { addServeCommand } from "./serve-command.ts";
import { addStorageDaemonCommand } from "./storage-daemon-command.ts";
import { addUiCommand } from "./ui-command.ts";

/** Parses the command line, carries it out, and returns the exit status. Errors become one line on standard error. */
export async function runProgram(args: readonly string[], version: string): Promise<number> {
  watchOutput();
  let status: number = EXIT.done;
  const finish = (code: number): void => {
    status = code;
  };
  const program = new Command("blockmirror")
    .description("Keeps a live copy of a disk image while it is being written.")
    .version(`blockmirror ${version}`, "-V, --version")
    .exitOverride()
    .showSuggestionAfterError()
    .enablePositionalOptions()
    .helpCommand(true);
  addUiCommand(program, finish);
  addMirrorCommand(program, finish);
  addCommitCommand(program, finish);
  addDemoCommand(program, finish);
  addServeCommand(program, finish);
  addAttachCommand(program, finish);
  addCreateCommand(program, finish);
  addInfoCommand(program, finish);
  addMapCommand(program, finish);
  addCompareCommand(program, finish);
  addCheckCommand(program, finish);
  addMeasureCommand(program, finish);
  addStorageDaemonCommand(program, version, finish);
  // The program's own leave, which is there to name unknown commands, is handed down to every command otherwise.
  for (const command of program.commands) command.allowExcessArguments(false);
  for (const command of [program, ...program.commands]) sayErrorsInOneLine(command);
  try {
    await program.parseAsync([...args], { from: "user" });
    return status;
  } catch (error) {
    return report(error);
  }
}

function sayErrorsInOneLine(command: Command): void {
  const name = command.parent === null ? "blockmirror" : `blockmirror ${command.name()}`;
  command.configureOutput({
    outputError: (text, write) => {
      const line = text
        .trim()
        .replace(/^error: /, "")
        .replaceAll(/\.?\s*\n\s*/g, " ");
      write(`blockmirror: ${line}; see ${name} --help\n`);
    },
  });
}

function report(error: unknown): number {
  // Commander has printed its own message, and help and version are no errors.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
  if (error instanceof UsageError) return fail(error.message, EXIT.usage);
  if (error instanceof RequestError || error instanceof BlockError || error instanceof JobError) {
    return fail(error.message, EXIT.failed);
  }
  // What the system refused is no defect of the program, and a stack trace helps nobody.
  if (error instanceof Error && "syscall" in error) return fail(error.message, EXIT.failed);
  throw error;
}

function fail(message: string, status: number): number {
  process.stderr.write(`blockmirror: ${message.replaceAll("\n", " ")}\n`);
  return status;
}
