import { mkdir, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { render, type SuspendTerminal } from "ink";
import { systemClock } from "../job-source/clock.ts";
import type { JobSource } from "../job-source/job-source.ts";
import { stateDirectory } from "../terminal/state-directory.ts";
import { showInPager } from "../terminal/pager.ts";
import { guardTerminal } from "../terminal/terminal-guard.ts";
import { App } from "./components/app.tsx";
import { UiController } from "./controller.ts";
import type { UiResult } from "./controller-options.ts";
import { glyphsFor } from "./glyphs.ts";
import { Keymap } from "./key-bindings.ts";
import { type ScreenStyle, screenText } from "./screen-style.ts";
import { trapSignals } from "./signals.ts";
import { themeOf } from "./theme.ts";
import type { UiOptions } from "./ui-options.ts";

const DEFAULT_TICK_MS = 1000;
// A key that comes right after a picture waits for the next one: 33 ms at most.
const DEFAULT_MAX_FPS = 30;

async function writeDump(text: string, directory: string, atMs: number): Promise<string> {
  await mkdir(directory, { recursive: true });
  const stamp = new Date(atMs).toISOString().replace(/[:.]/gu, "-");
  const path = join(directory, `screen-${stamp}.txt`);
  await writeFile(path, `${text}\n`);
  return path;
}

/** See `startUi`, which loads this file and all of React with it. */
export async function runUi(source: JobSource, options: UiOptions): Promise<UiResult> {
  const stdout = options.stdout ?? process.stdout;
  const stdin = options.stdin ?? process.stdin;
  if (!stdout.isTTY) throw new TypeError("the terminal UI needs a terminal on standard output");
  const clock = options.clock ?? systemClock;
  const spoken = options.screenReader ?? process.env["INK_SCREEN_READER"] === "true";
  const keyboard = stdin.isTTY;
  let result: UiResult | undefined;
  let suspendTerminal: SuspendTerminal | undefined;
  let redraw: (() => void) | undefined;
  const style: ScreenStyle = {
    theme: themeOf(options.theme ?? "default"),
    glyphs: glyphsFor(options.ascii ?? false),
    color: options.color ?? true,
  };
  const end = (reason: UiResult): void => {
    result ??= reason;
    instance.unmount();
  };
  const dumpDirectory = options.dumpDirectory ?? stateDirectory(process.env, homedir());
  const controller: UiController = new UiController(source, {
    clock,
    // Without a keyboard nobody can answer a question.
    readOnly: (options.readOnly ?? false) || !keyboard,
    tickMs: options.tickMs ?? DEFAULT_TICK_MS,
    confirmQuit: options.confirmQuit ?? source.endpoint.kind === "embedded",
    exports: options.exports,
    onInterrupt: options.onInterrupt,
    onForceInterrupt: options.onForceInterrupt,
    exit: end,
    suspend: () => {
      signals.suspend();
    },
    copyText: (text) => {
      stdout.write(`\u001B]52;c;${Buffer.from(text).toString("base64")}\u0007`);
    },
    dumpScreen: () => writeDump(screenText(controller, style, stdout), dumpDirectory, clock.now()),
    redraw: () => {
      redraw?.();
    },
    page: async (text) => {
      await signals.lend(() => showInPager(text, process.env));
    },
    keymap: new Keymap(options.keys),
    files: [
      ...(options.keyFile === undefined
        ? []
        : [{ label: options.keys === undefined ? "keys (none)" : "keys", path: options.keyFile }]),
      { label: "screens", path: dumpDirectory },
    ],
  });
  const disarm = guardTerminal({ stdout, stdin, alternateScreen: !spoken });
  // Ink does so after the first picture; until then the terminal would write typed keys into it, where nobody repairs it.
  if (keyboard) stdin.setRawMode(true);
  // Keys typed before that were written, and the other screen begins where the cursor stands: the first row would not fit.
  stdout.write("\r");
  controller.start();
  const instance = render(
    <App
      controller={controller}
      style={style}
      spoken={spoken}
      keyboard={keyboard}
      onTerminal={(suspend) => {
        suspendTerminal = suspend;
      }}
      onRedraw={(again) => {
        redraw = again;
      }}
    />,
    {
      stdout,
      stdin,
      exitOnCtrlC: false,
      patchConsole: options.patchConsole ?? true,
      // A terminal is a terminal, in a continuous-integration job as well.
      interactive: true,
      alternateScreen: !spoken,
      incrementalRendering: true,
      isScreenReaderEnabled: spoken,
      maxFps: options.maxFps ?? DEFAULT_MAX_FPS,
    },
  );
  const signals = trapSignals({
    interrupt: () => {
      controller.interrupt();
    },
    terminate: (signal) => {
      end({ reason: "signal", signal });
    },
    suspendTerminal: () => suspendTerminal,
    stdin,
  });
  // A UI waits for keys; the process must not end before them just because no job keeps it busy.
  const keepAlive = setInterval(() => {}, 2 ** 30);
  const showDone = (): void => end({ reason: "done" });
  options.until?.then(showDone, showDone);
  try {
    await instance.waitUntilExit();
  } finally {
    clearInterval(keepAlive);
    signals.release();
    controller.stop();
    disarm();
  }
  return result ?? { reason: "quit", liveJobs: 0 };
}
