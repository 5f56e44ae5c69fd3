import type { SuspendTerminal } from "ink";
import { stopReading } from "../terminal/stop-reading.ts";

/** What signals lead to. */
export interface SignalHandlers {
  /** SIGINT from outside; the key ctrl-c arrives as a key press. */
  readonly interrupt: () => void;
  /** SIGTERM or SIGHUP: give the terminal back and end. */
  readonly terminate: (signal: NodeJS.Signals) => void;
  /** Ink's way of lending the terminal out; `undefined` before the first frame. */
  readonly suspendTerminal: () => SuspendTerminal | undefined;
  /** Where keys come from: not from there while the terminal is lent out. */
  readonly stdin: NodeJS.ReadStream;
}

/** The signals of a running UI. */
export interface TrappedSignals {
  /** Gives the terminal to the shell and stops the process group, as ctrl-z does in a program without a UI. */
  suspend(): void;
  /**
   * Gives the terminal to another program for as long as `use` takes; its ctrl-c and ctrl-z are its own then.
   * @returns false when the terminal is lent already, or the UI has no terminal yet; `use` is not called then.
   */
  lend(use: () => Promise<void>): Promise<boolean>;
  /** Puts the default behaviour back. */
  release(): void;
}

// Code runs again only when somebody continued us, or when the stop was ignored because no shell is there to
// continue us. Either way the terminal is ours again.
const RESUME_DELAY_MS = 50;

async function stopGroup(): Promise<void> {
  process.kill(0, "SIGTSTP");
  await new Promise((resolve) => {
    setTimeout(resolve, RESUME_DELAY_MS);
  });
}

function ignore(): void {}

/** Takes over the signals that concern a program with a full screen. */
export function trapSignals(handlers: SignalHandlers): TrappedSignals {
  let lent = false;
  let released = false;
  const lend = async (use: () => Promise<void>): Promise<boolean> => {
    const suspendTerminal = handlers.suspendTerminal();
    if (lent || suspendTerminal === undefined) return false;
    lent = true;
    process.off("SIGINT", handlers.interrupt).on("SIGINT", ignore);
    process.off("SIGTSTP", suspend);
    try {
      const suspension = await suspendTerminal();
      try {
        await stopReading(handlers.stdin);
        await use();
      } finally {
        await suspension.resume();
      }
    } finally {
      lent = false;
      process.off("SIGINT", ignore);
      if (!released) trapTerminal();
    }
    return true;
  };
  const suspend = (): void => {
    lend(stopGroup).catch(() => {
      // The UI ended while it was suspended.
    });
  };
  const trapTerminal = (): void => {
    process.on("SIGINT", handlers.interrupt);
    if (process.platform !== "win32") process.on("SIGTSTP", suspend);
  };
  const terminate = (signal: NodeJS.Signals): void => {
    handlers.terminate(signal);
  };
  trapTerminal();
  process.on("SIGTERM", terminate);
  process.on("SIGHUP", terminate);
  return {
    suspend,
    lend,
    release: () => {
      released = true;
      process.off("SIGINT", handlers.interrupt);
      process.off("SIGTERM", terminate);
      process.off("SIGHUP", terminate);
      process.off("SIGTSTP", suspend);
    },
  };
}
