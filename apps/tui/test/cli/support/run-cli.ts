import { spawn, type ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { appFile, nodePath } from "../../support/pty.ts";

/** What a finished command left behind. */
export interface CliResult {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A command that runs. */
export interface RunningCli {
  readonly child: ChildProcess;
  readonly ended: Promise<CliResult>;
  /** Resolves when standard output holds the text; rejects when the command ends without. */
  saw(text: string | RegExp): Promise<void>;
}

/** Settings of {@link startCli}. */
export interface CliOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Runs it through this command, for example as another user. */
  readonly through?: readonly string[];
  /** Arguments for Node itself. */
  readonly nodeArguments?: readonly string[];
}

const DEADLINE_MS = 40_000;

/** Starts the built program in pipes. It is killed when it does not end in time. */
export function startCli(args: readonly string[], options: CliOptions = {}): RunningCli {
  const [file = nodePath, ...rest] = [
    ...(options.through ?? []),
    nodePath,
    ...(options.nodeArguments ?? []),
    appFile("bin", "blockmirror.js"),
    ...args,
  ];
  const child = spawn(file, rest, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  const watchers = new Set<() => void>();
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    for (const look of watchers) look();
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), DEADLINE_MS);
  const ended = new Promise<CliResult>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (status, signal) => {
      clearTimeout(timer);
      resolve({ status, signal, stdout, stderr });
    });
  });
  const saw = (text: string | RegExp): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (typeof text === "string" ? stdout.includes(text) : text.test(stdout)) {
          watchers.delete(look);
          resolve();
        }
      };
      watchers.add(look);
      look();
      void ended.then(() => reject(new Error(`never said ${String(text)}:\n${stdout}\n${stderr}`)));
    });
  return { child, ended, saw };
}

/** Runs the built program to its end in pipes. */
export function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  return startCli(args, options).ended;
}

/** A fresh directory, and the way to remove it. */
export function scratchDirectory(): { readonly path: string; readonly remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "blockmirror-cli-test-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Everything that may not change below a directory: names, kinds, sizes, times and content. */
export function picture(directory: string): readonly string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .toSorted()
    .map((name) => {
      const path = join(directory, name);
      const stats = lstatSync(path, { bigint: true });
      const content = stats.isFile() ? createHash("sha256").update(readFileSync(path)).digest("hex") : "";
      return `${name} ${stats.mode} ${stats.size} ${stats.mtimeNs} ${content}`;
    });
}
