/** Set for the process in the background: the descriptor at which it says that it is ready. */
const READY_VARIABLE = "BLOCKMIRROR_DAEMON_READY_FD";
const READY_FD = 3;

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
  const { closeSync, writeSync } = process.getBuiltinModule("node:fs");
  writeSync(READY_FD, "ready\n");
  closeSync(READY_FD);
}

/**
 * Starts this program once more, in a session of its own, and waits until it is ready or has failed. Its errors appear
 * here until then.
 *
 * @returns the exit status: 0 when it is ready, otherwise its own, never 0.
 */
export async function runInBackground(): Promise<number> {
  // A daemon itself starts no other program, and answers sooner without what that takes.
  const { spawn } = await import("node:child_process");
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    detached: true,
    // Not inherited: whoever waits for the end of this program's output must not wait for the daemon's.
    stdio: ["ignore", "ignore", "pipe", "pipe"],
    env: { ...process.env, [READY_VARIABLE]: String(READY_FD) },
  });
  child.stderr?.pipe(process.stderr, { end: false });
  const ready = child.stdio[READY_FD];
  const status = await new Promise<number>((resolve) => {
    ready?.once("data", () => resolve(0));
    child.once("error", () => resolve(1));
    child.once("close", (code) => resolve(code === null || code === 0 ? 1 : code));
  });
  child.unref();
  child.stderr?.destroy();
  ready?.destroy();
  return status;
}
