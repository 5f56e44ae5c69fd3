import { Command, CommanderError } from "commander";
import { BlockError } from "@blockmirror/block-driver";
import { RequestError } from "../engine/request-error.ts";
import { EXIT, UsageError } from "./exit-status.ts";
import { outputFailure, watchOutput } from "./standard-output.ts";
import { unknownCommand } from "./unknown-command.ts";

/** Adds a command to the program; what it did becomes an exit status by `finish`. */
type AddCommand = (program: Command, finish: (status: number) => void, version: string) => void;

/**
 * The commands, as the help lists them. Each is loaded by itself: looking at an image must not cost the time that it takes
 * to load everything there is.
 */
const COMMANDS: ReadonlyMap<string, () => Promise<AddCommand>> = new Map([
  ["mirror", async () => (await import("./mirror-command.ts")).addMirrorCommand],
  ["commit", async () => (await import("./commit-command.ts")).addCommitCommand],
  ["demo", async () => (await import("./demo-command.ts")).addDemoCommand],
  ["serve", async () => (await import("./serve-command.ts")).addServeCommand],
  ["attach", async () => (await import("./attach-command.ts")).addAttachCommand],
  ["create", async () => (await import("./create-command.ts")).addCreateCommand],
  ["info", async () => (await import("./info-command.ts")).addInfoCommand],
  ["map", async () => (await import("./map-command.ts")).addMapCommand],
  ["compare", async () => (await import("./compare-command.ts")).addCompareCommand],
  ["check", async () => (await import("./check-command.ts")).addCheckCommand],
  ["measure", async () => (await import("./measure-command.ts")).addMeasureCommand],
  ["storage-daemon", async () => (await import("./storage-daemon-command.ts")).addStorageDaemonCommand],
]);

/** The program without a command. */
const addUi = async (): Promise<AddCommand> => (await import("./ui-command.ts")).addUiCommand;

/** Parses the command line, carries it out, and returns the exit status. Errors become one line on standard error. */
export async function runProgram(args: readonly string[], version: string): Promise<number> {
  watchOutput();
  let status: number = EXIT.done;
  const finish = (code: number): void => {
    status = code;
  };
  const program = new Command("blockmirror")
    .description(
      "Keeps a live copy of a disk image while it is being written. Without a command: the terminal UI, where n starts a job and ? lists the keys.",
    )
    .addHelpText("after", AFTER_HELP)
    .version(`blockmirror ${version}`, "-V, --version")
    .exitOverride()
    .showSuggestionAfterError()
    .enablePositionalOptions()
    .helpCommand(true);
  // Everything else that may stand first (options, help, a mistyped word) needs to know every command.
  const named = COMMANDS.get(args[0] ?? "");
  const wanted = named === undefined ? [addUi, ...COMMANDS.values()] : [named];
  for (const load of wanted) (await load())(program, finish, version);
  // The program's own leave, which is there to name unknown commands, is handed down to every command otherwise.
  for (const command of program.commands) command.allowExcessArguments(false);
  for (const command of [program, ...program.commands]) sayErrorsInOneLine(command);
  try {
    mustBeKnown(args);
    await program.parseAsync([...args], { from: "user" });
    return status === EXIT.done ? await resultStatus() : status;
  } catch (error) {
    return report(error);
  }
}

/** A result that nobody will find is none. */
async function resultStatus(): Promise<number> {
  const failure = await outputFailure();
  if (failure === undefined) return EXIT.done;
  return fail(`standard output cannot be written: ${failure.message}`, EXIT.failed);
}

const AFTER_HELP = `
Examples:
  blockmirror demo                                see it work
  blockmirror mirror disk.raw copy.raw            live table; READY waits for your key
  blockmirror mirror disk.raw copy.raw | tee log  lines; completes by itself
  blockmirror attach /run/vm/qmp.sock             the jobs of a running QEMU

Exit status: 0 done, 1 failed, 2 wrong usage, 130 ended by the user.`;

/** Help about something that does not exist is a mistyped word, not a wish for help in general. */
function mustBeKnown([first, word]: readonly string[]): void {
  if (first !== "help" || word === undefined || word.startsWith("-") || COMMANDS.has(word) || word === "help")
    return;
  throw unknownCommand(word, COMMANDS.keys());
}

function sayErrorsInOneLine(command: Command): void {
  const name = command.parent === null ? "blockmirror" : `blockmirror ${command.name()}`;
  command.configureOutput({
    outputError: (text, write) => {
      const line = text
        .trim()
        .replace(/^error: /, "")
        .replace(/\.$/, "")
        .replaceAll(/\.?\s*\n\s*/g, " ");
      write(`blockmirror: ${line}; see ${name} --help\n`);
    },
  });
}

function report(error: unknown): number {
  // Commander has printed its own message, and help and version are no errors.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
  if (error instanceof UsageError) return fail(error.message, EXIT.usage);
  if (error instanceof RequestError || error instanceof BlockError || isJobError(error)) {
    return fail(error.message, EXIT.failed);
  }
  // What the system refused is no defect of the program, and a stack trace helps nobody.
  if (error instanceof Error && "syscall" in error) return fail(error.message, EXIT.failed);
  throw error;
}

/** Told by the code: to know the class would load the jobs, and most commands have none. */
function isJobError(error: unknown): error is Error {
  return error instanceof Error && "code" in error && String(error.code).startsWith("JOB_");
}

function fail(message: string, status: number): number {
  process.stderr.write(`blockmirror: ${message.replaceAll("\n", " ")}\n`);
  return status;
}
