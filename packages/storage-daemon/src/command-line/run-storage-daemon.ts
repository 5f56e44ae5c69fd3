import { directoryGate } from "@blockmirror/block-driver";
import { Daemon, type DaemonOptions } from "../daemon.ts";
import { splitArguments, type CommandLineOption } from "./arguments.ts";
import { isBackgroundProcess, reportReady, runInBackground } from "./daemonize.ts";
import { HELP } from "./help.ts";
import { CommandLineSession } from "./session.ts";
import { UsageError } from "./usage-error.ts";

/** There is no option that allows directories: whoever may send commands may open any file. */
const GATE_REMEDY = "open it with blockdev-add, and give its node-name in the options of the image";

/** Signals that end a daemon in order. */
const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

const KEEP_ALIVE_MS = 2 ** 30;

/** Exit statuses, as the design of the command line has them. */
const EXIT = { done: 0, failed: 1, usage: 2 } as const;

/**
 * Runs a storage daemon by a command line in qemu-storage-daemon's spelling, until a client says `quit` or a signal comes.
 * Errors become one line on standard error.
 *
 * Names found inside images are followed within the image's directory, as the program's other commands do.
 *
 * @param args what follows the program's name.
 * @returns the exit status: 0 after an orderly end, 1 when something failed, 2 for a command line that is wrong.
 */
export async function runStorageDaemon(
  args: readonly string[],
  options: DaemonOptions = {},
): Promise<number> {
  try {
    return await run(args, options);
  } catch (error) {
    report(error);
    return error instanceof UsageError ? EXIT.usage : EXIT.failed;
  }
}

function report(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`blockmirror storage-daemon: ${message}\n`);
}

async function run(args: readonly string[], daemonOptions: DaemonOptions): Promise<number> {
  const options = splitArguments(args);
  if (options.some(({ name }) => name === "help")) {
    process.stdout.write(HELP);
    return EXIT.done;
  }
  if (options.some(({ name }) => name === "version")) {
    process.stdout.write(`blockmirror storage-daemon ${daemonOptions.packageVersion ?? ""}\n`);
    return EXIT.done;
  }
  if (options.some(({ name }) => name === "daemonize") && !isBackgroundProcess()) return runInBackground();

  const session = new CommandLineSession(
    new Daemon({ gate: directoryGate([], GATE_REMEDY), onError: report, ...daemonOptions }),
    report,
  );
  // What closing meets is told below, where it is awaited as well.
  const stop = (): void => void session.close().catch(() => undefined);
  for (const signal of SIGNALS) process.on(signal, stop);
  // A daemon without sockets, or whose standard input has ended, goes on until it is told to end.
  const keepAlive = setInterval(() => undefined, KEEP_ALIVE_MS);
  try {
    // An option may wait for long, as for a first client: who tells the daemon to end does not wait with it.
    await Promise.race([start(session, options), session.daemon.ended]);
    await session.daemon.ended;
  } catch (error) {
    // What was being done when it was told to end failed for that.
    if (!session.isClosing) throw error;
  } finally {
    clearInterval(keepAlive);
    await session.close();
    for (const signal of SIGNALS) process.off(signal, stop);
  }
  return EXIT.done;
}

/** Carries the options out, in their order, and says that everything listens. */
async function start(session: CommandLineSession, options: readonly CommandLineOption[]): Promise<void> {
  for (const option of options) {
    await session.apply(option);
    if (session.isClosing) return;
  }
  session.ready();
  reportReady();
}
