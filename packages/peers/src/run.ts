import { spawn } from "node:child_process";

import { PeerError } from "./error.ts";

/** How {@link run} runs a program. */
export interface RunOptions {
  readonly cwd?: string;
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Written to its standard input, which is otherwise empty. */
  readonly input?: string | Uint8Array;
  /** Exit statuses that are answers and not failures, as `[0, 1]` for `qemu-img compare`. Default `[0]`. */
  readonly allowedExitCodes?: readonly number[];
  /** After this many milliseconds it is killed and the run fails. Default 120 000. */
  readonly timeoutMs?: number;
}

/** What a program that ran to its end left behind. */
export interface RunResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

const DEFAULT_TIMEOUT_MS = 120_000;

/**
 * Runs a program to its end, without a shell, and collects what it prints.
 *
 * @throws {@link PeerError} `PEER_FAILED` with the command line, the exit status or signal and stderr when the
 * exit status is not allowed; `PEER_MISSING` when it cannot be started; `PEER_TIMEOUT` when it was killed for time.
 */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const { allowedExitCodes = [0], timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  const line = [command, ...args].join(" ");
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill("SIGKILL");
    }, timeoutMs);
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
    // A program that ends without reading its input is judged by its exit status, not by the broken pipe.
    child.stdin.on("error", () => undefined);
    child.stdin.end(options.input);
    child.on("error", (cause) => {
      clearTimeout(timer);
      reject(new PeerError("PEER_MISSING", `cannot start ${line}: ${cause.message}`, { cause }));
    });
    child.on("close", (exitCode, signal) => {
      clearTimeout(timer);
      const stdout = Buffer.concat(out).toString();
      const stderr = Buffer.concat(err).toString();
      if (timedOut) {
        const message = `${line}: killed, it had not ended after ${timeoutMs} ms\n${stderr}`;
        reject(new PeerError("PEER_TIMEOUT", message, { stdout, stderr }));
      } else if (exitCode === null) {
        reject(new PeerError("PEER_FAILED", `${line}: ended by ${signal}\n${stderr}`, { stdout, stderr }));
      } else if (!allowedExitCodes.includes(exitCode)) {
        const message = `${line}: exit status ${exitCode}\n${stderr}`;
        reject(new PeerError("PEER_FAILED", message, { exitCode, stdout, stderr }));
      } else {
        resolve({ exitCode, stdout, stderr });
      }
    });
  });
}
