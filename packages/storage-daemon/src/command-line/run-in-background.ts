import { spawn } from "node:child_process";
import { READY_FD, READY_VARIABLE } from "./daemonize.ts";

/**
 * Starts this program once more, in a session of its own, and waits until it is ready or has failed. Its errors appear
 * here until then.
 *
 * @returns the exit status: 0 when it is ready, otherwise its own, never 0.
 */
export async function runInBackground(): Promise<number> {
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
