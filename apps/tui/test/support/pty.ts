import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import headless from "@xterm/headless";
import { spawn } from "@lydell/node-pty";
import { readScreen } from "./fake-terminal.ts";
import { waitFor } from "./wait-for.ts";

/** Settings of {@link spawnInPty}. */
export interface PtyOptions {
  readonly columns?: number;
  readonly rows?: number;
  readonly cwd?: string;
  /** Added to the environment; `undefined` takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** A program in a pseudo-terminal with a model of its screen. */
export interface PtyProgram {
  readonly pid: number;
  /** What a person would see. */
  screen(): string;
  /** Whether the program is on the alternate screen. */
  onAlternateScreen(): boolean;
  /** Everything the program wrote. */
  written(): string;
  press(...keys: string[]): void;
  /** Waits until the program has taken the keyboard: the first picture comes before, and after another program's turn too. */
  takesKeys(): Promise<void>;
  waitFor(text: string | RegExp): Promise<void>;
  waitForGone(text: string | RegExp): Promise<void>;
  resize(columns: number, rows: number): void;
  kill(signal: NodeJS.Signals): void;
  /** Waits for the end of the program, and until its screen shows all that it wrote. */
  exited(): Promise<{ readonly exitCode: number; readonly signal: number | undefined }>;
}

const KEYS: Readonly<Record<string, string>> = {
  enter: "\r",
  escape: "\u001B",
  tab: "\t",
  up: "\u001B[A",
  down: "\u001B[B",
  right: "\u001B[C",
  left: "\u001B[D",
  backspace: "\u007F",
  "ctrl+c": "\u0003",
  "ctrl+z": "\u001A",
};

/** The Node that runs these tests; the program under test runs on the same. */
export const nodePath: string = process.execPath;

/** Directory of this app. */
const appDirectory: string = dirname(createRequire(import.meta.url).resolve("blockmirror/package.json"));

/** Path of a file of this app. */
export function appFile(...parts: string[]): string {
  return join(appDirectory, ...parts);
}

/** Runs a program in a pseudo-terminal. Assertions wait: see {@link PtyProgram.waitFor}. */
export function spawnInPty(file: string, args: readonly string[], options: PtyOptions = {}): PtyProgram {
  const columns = options.columns ?? 80;
  const rows = options.rows ?? 24;
  const environment: Record<string, string> = {};
  const wanted = { ...process.env, TERM: "xterm-256color", LANG: "C.UTF-8", ...options.env };
  for (const [name, value] of Object.entries(wanted)) {
    if (value !== undefined) environment[name] = value;
  }
  const model = new headless.Terminal({ cols: columns, rows, allowProposedApi: true });
  const child = spawn(file, [...args], {
    name: "xterm-256color",
    cols: columns,
    rows,
    cwd: options.cwd ?? appDirectory,
    env: environment,
  });
  let written = "";
  child.onData((data) => {
    written += data;
    model.write(data);
  });
  // Terminals answer questions; a program may wait for the answers.
  model.onData((data) => {
    child.write(data);
  });
  let end: { readonly exitCode: number; readonly signal: number | undefined } | undefined;
  child.onExit(({ exitCode, signal }) => {
    end = { exitCode, signal };
  });
  const screen = (): string => readScreen(model);
  const matches = (text: string | RegExp): boolean =>
    typeof text === "string" ? screen().includes(text) : text.test(screen());
  return {
    pid: child.pid,
    screen,
    onAlternateScreen: () => model.buffer.active.type === "alternate",
    written: () => written,
    press: (...keys) => {
      for (const key of keys) child.write(KEYS[key] ?? key);
    },
    takesKeys: () =>
      waitFor(
        () => written.lastIndexOf("\u001B[?2004h") > written.lastIndexOf("\u001B[?2004l"),
        () => `keyboard not taken\n${screen()}`,
      ),
    waitFor: (text) =>
      waitFor(
        () => matches(text),
        () => `expected ${String(text)}\n${screen()}`,
      ),
    waitForGone: (text) =>
      waitFor(
        () => !matches(text),
        () => `unexpected ${String(text)}\n${screen()}`,
      ),
    resize: (newColumns, newRows) => {
      model.resize(newColumns, newRows);
      child.resize(newColumns, newRows);
    },
    kill: (signal) => {
      if (end === undefined) process.kill(child.pid, signal);
    },
    exited: async () => {
      await waitFor(
        () => end !== undefined,
        () => `still running\n${screen()}`,
      );
      // The model takes what it is given later, in pieces.
      await new Promise<void>((resolve) => {
        model.write("", resolve);
      });
      return end ?? { exitCode: -1, signal: undefined };
    },
  };
}
