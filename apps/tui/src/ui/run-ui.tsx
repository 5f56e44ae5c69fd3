import { mkdir, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { render, renderToString, type SuspendTerminal } from "ink";
import { type Clock, systemClock } from "../job-source/clock.ts";
import type { JobSource } from "../job-source/job-source.ts";
import { stateDirectory } from "../terminal/state-directory.ts";
import { guardTerminal } from "../terminal/terminal-guard.ts";
import { App } from "./components/app.tsx";
import { Screen } from "./components/screen.tsx";
import { UiController } from "./controller.ts";
import type { UiResult } from "./controller-options.ts";
import { glyphsFor } from "./glyphs.ts";
import { trapSignals } from "./signals.ts";
import type { UiStyle } from "./style-context.ts";
import { themeOf } from "./theme.ts";
import type { UiOptions } from "./ui-options.ts";

const DEFAULT_TICK_MS = 1000;
const DEFAULT_MAX_FPS = 15;

async function dumpScreen(
  controller: UiController,
  style: UiStyle,
  size: { readonly columns: number; readonly rows: number },
  directory: string,
  clock: Clock,
): Promise<string> {
  const picture = renderToString(
    <Screen
      frame={controller.frame()}
      columns={size.columns}
      rows={size.rows}
      style={style}
      refusal={controller.refusal}
      readMap={controller.map}
    />,
    { columns: size.columns },
  );
  await mkdir(directory, { recursive: true });
  const stamp = new Date(clock.now()).toISOString().replace(/[:.]/gu, "-");
  const path = join(directory, `screen-${stamp}.txt`);
  await writeFile(path, `${stripVTControlCharacters(picture)}\n`);
  return path;
}

/** See `startUi`, which loads this file and all of React with it. */
export async function runUi(source: JobSource, options: UiOptions): Promise<UiResult> {
  const stdout = options.stdout ?? process.stdout;
  const stdin = options.stdin ?? process.stdin;
  if (!stdout.isTTY) throw new TypeError("the terminal UI needs a terminal on standard output");
  const clock = options.clock ?? systemClock;
  const spoken = options.screenReader ?? process.env["INK_SCREEN_READER"] === "true";
  const style: UiStyle = {
    theme: themeOf(options.theme ?? "default"),
    glyphs: glyphsFor(options.ascii ?? false),
  };
  const keyboard = stdin.isTTY;
  let result: UiResult | undefined;
  let suspendTerminal: SuspendTerminal | undefined;
  const controller: UiController = new UiController(source, {
    clock,
    // Without a keyboard nobody can answer a question.
    readOnly: (options.readOnly ?? false) || !keyboard,
    tickMs: options.tickMs ?? DEFAULT_TICK_MS,
    confirmQuit: options.confirmQuit ?? source.endpoint.kind === "embedded",
    exports: options.exports,
    onInterrupt: options.onInterrupt,
    onForceInterrupt: options.onForceInterrupt,
    exit: (reason) => {
      result ??= reason;
      instance.unmount();
    },
    suspend: () => {
      signals.suspend();
    },
    copyText: (text) => {
      stdout.write(`\u001B]52;c;${Buffer.from(text).toString("base64")}\u0007`);
    },
    dumpScreen: () =>
      dumpScreen(
        controller,
        style,
        { columns: stdout.columns, rows: stdout.rows },
        options.dumpDirectory ?? stateDirectory(process.env, homedir()),
        clock,
      ),
  });
  const disarm = guardTerminal({ stdout, stdin, alternateScreen: !spoken });
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
      result ??= { reason: "signal", signal };
      instance.unmount();
    },
    suspendTerminal: () => suspendTerminal,
  });
  // A UI waits for keys; the process must not end before them just because no job keeps it busy.
  const keepAlive = setInterval(() => {}, 2 ** 30);
  const end = (): void => {
    result ??= { reason: "done" };
    instance.unmount();
  };
  options.until?.then(end, end);
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
