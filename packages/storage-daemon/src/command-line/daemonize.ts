import { closeSync, writeSync } from "node:fs";

/** Set for the process in the background: the descriptor at which it says that it is ready. */
export const READY_VARIABLE = "BLOCKMIRROR_DAEMON_READY_FD";
export const READY_FD = 3;

/** Whether this is the process in the background. */
export function isBackgroundProcess(): boolean {
  return process.env[READY_VARIABLE] === String(READY_FD);
}

/** Tells the process that waits in the foreground that everything listens. */
export function reportReady(): void {
  if (!isBackgroundProcess()) return;
  delete process.env[READY_VARIABLE];
  // Nobody reads standard error from here on, and a message that nobody reads must not end the daemon.
  process.stderr.on("error", () => undefined);
  writeSync(READY_FD, "ready\n");
  closeSync(READY_FD);
}
