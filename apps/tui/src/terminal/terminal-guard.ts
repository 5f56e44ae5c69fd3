import { writeSync } from "node:fs";

const LEAVE_ALTERNATE_SCREEN = "\u001B[?1049l";
const END_SYNCHRONIZED_UPDATE = "\u001B[?2026l";
const DISABLE_BRACKETED_PASTE = "\u001B[?2004l";
const RESET_STYLE = "\u001B[0m";
const SHOW_CURSOR = "\u001B[?25h";

/** Parts of a terminal's streams that {@link guardTerminal} needs. */
export interface GuardedTerminal {
  readonly stdout: NodeJS.WritableStream;
  readonly stdin: NodeJS.ReadableStream;
  /** Whether the alternate screen is in use. */
  readonly alternateScreen: boolean;
}

function writeNow(stream: NodeJS.WritableStream, text: string): void {
  // A dying process does not flush its streams, so write to the descriptor itself where there is one.
  const descriptor = "fd" in stream && typeof stream.fd === "number" ? stream.fd : undefined;
  try {
    if (descriptor === undefined) stream.write(text);
    else writeSync(descriptor, text);
  } catch {
    // The terminal is gone; there is nothing left to restore.
  }
}

function leaveRawMode(stdin: NodeJS.ReadableStream): void {
  if (!("setRawMode" in stdin) || typeof stdin.setRawMode !== "function") return;
  try {
    stdin.setRawMode(false);
  } catch {
    // As above.
  }
}

/**
 * Last line of defence for the user's terminal: when the process dies of an error nobody caught, or exits while the
 * UI is up, gives back the main screen, the cursor and the line discipline *before* the error is printed.
 * @returns the function that ends the watch, to be called after an orderly shutdown.
 */
export function guardTerminal(terminal: GuardedTerminal): () => void {
  let armed = true;
  const disarm = (): void => {
    armed = false;
    process.off("uncaughtExceptionMonitor", restore);
    process.off("exit", restore);
  };
  const restore = (): void => {
    if (!armed) return;
    disarm();
    leaveRawMode(terminal.stdin);
    const leave = terminal.alternateScreen ? LEAVE_ALTERNATE_SCREEN : "";
    writeNow(
      terminal.stdout,
      END_SYNCHRONIZED_UPDATE + DISABLE_BRACKETED_PASTE + RESET_STYLE + leave + SHOW_CURSOR,
    );
  };
  process.on("uncaughtExceptionMonitor", restore);
  process.on("exit", restore);
  return disarm;
}
