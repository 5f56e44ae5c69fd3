import type { SuspendTerminal } from "ink";

/** What signals lead to. */
export interface SignalHandlers {
  /** SIGINT from outside; the key ctrl-c arrives as a key press. */
  readonly interrupt: () => void;
  /** SIGTERM or SIGHUP: give the terminal back and end. */
  readonly terminate: (signal: NodeJS.Signals) => void;
  /** Ink's way of lending the terminal out; `undefined` before the first frame. */
  readonly suspendTerminal: () => SuspendTerminal | undefined;
}

/** The signals of a running UI. */
export interface TrappedSignals {
  /** Gives the terminal to the shell and stops the process group, as ctrl-z does in a program without a UI. */
  suspend(): void;
  /** Puts the default behaviour back. */
  release(): void;
}

// Code runs again only when somebody continued us, or when the stop was ignored because no shell is there to
// continue us. Either way the terminal is ours again.
const RESUME_DELAY_MS = 50;

/** Takes over the signals that concern a program with a full screen. */
export function trapSignals(handlers: SignalHandlers): TrappedSignals {
  let suspended = false;
  const suspend = (): void => {
    const suspendTerminal = handlers.suspendTerminal();
    if (suspended || suspendTerminal === undefined) return;
    suspended = true;
    suspendTerminal()
      .then(async (suspension) => {
        process.off("SIGTSTP", suspend);
        process.kill(0, "SIGTSTP");
        await new Promise((resolve) => {
          setTimeout(resolve, RESUME_DELAY_MS);
        });
        await suspension.resume();
      })
      .finally(() => {
        suspended = false;
        if (!released) process.on("SIGTSTP", suspend);
      })
      .catch(() => {
        // The UI ended while it was suspended.
      });
  };
  let released = false;
  const terminate = (signal: NodeJS.Signals): void => {
    handlers.terminate(signal);
  };
  process.on("SIGINT", handlers.interrupt);
  process.on("SIGTERM", terminate);
  process.on("SIGHUP", terminate);
  if (process.platform !== "win32") process.on("SIGTSTP", suspend);
  return {
    suspend,
    release: () => {
      released = true;
      process.off("SIGINT", handlers.interrupt);
      process.off("SIGTERM", terminate);
      process.off("SIGHUP", terminate);
      process.off("SIGTSTP", suspend);
    },
  };
}
