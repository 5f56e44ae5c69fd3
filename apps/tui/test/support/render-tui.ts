import { FakeClock } from "../../src/job-source/clock.ts";
import { FakeJobSource, type FakeJobSourceOptions } from "../../src/job-source/fake-job-source.ts";
import { startUi, type UiOptions, type UiResult } from "../../src/ui/start-ui.tsx";
import { FakeTerminal } from "./fake-terminal.ts";
import { waitFor } from "./wait-for.ts";

/** Settings of {@link renderTui}. */
export interface RenderTuiOptions {
  readonly columns?: number;
  readonly rows?: number;
  /** What stands on the terminal before the UI starts. */
  readonly before?: string;
  readonly ui?: Omit<UiOptions, "stdout" | "stdin" | "clock">;
  readonly source?: Omit<FakeJobSourceOptions, "clock">;
  /** Adds the jobs before the UI starts. */
  readonly setup?: (source: FakeJobSource) => void;
}

/** A running UI on a fake terminal, clock and source. */
export interface RenderedTui {
  readonly terminal: FakeTerminal;
  readonly clock: FakeClock;
  readonly source: FakeJobSource;
  readonly result: Promise<UiResult>;
  screen(): string;
  /** Types keys as a terminal sends them. */
  press(...keys: string[]): void;
  waitFor(text: string | RegExp): Promise<void>;
  waitForGone(text: string | RegExp): Promise<void>;
  /** Lets pretended time pass. */
  advance(ms: number): void;
  /** Ends the UI from outside, if it still runs. */
  close(): Promise<void>;
}

const KEYS: Readonly<Record<string, string>> = {
  enter: "\r",
  escape: "\u001B",
  tab: "\t",
  up: "\u001B[A",
  down: "\u001B[B",
  right: "\u001B[C",
  left: "\u001B[D",
  pagedown: "\u001B[6~",
  pageup: "\u001B[5~",
  backspace: "\u007F",
  "ctrl+c": "\u0003",
  "ctrl+s": "\u0013",
};

/** Starts the real UI where nothing is real but the UI. */
export function renderTui(options: RenderTuiOptions = {}): RenderedTui {
  const terminal = new FakeTerminal(options.columns ?? 80, options.rows ?? 24);
  if (options.before !== undefined) terminal.model.write(options.before);
  const clock = new FakeClock();
  const source = new FakeJobSource({ ...options.source, clock });
  options.setup?.(source);
  clock.advance(3000);
  let ended = false;
  const result = startUi(source, {
    ...options.ui,
    // The test runner's console is not one that can be patched.
    patchConsole: false,
    maxFps: 1000,
    clock,
    // The streams are what ink needs of a terminal, not all that Node's own are.
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    stdout: terminal.stdout as unknown as NodeJS.WriteStream,
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    stdin: terminal.stdin as unknown as NodeJS.ReadStream,
  }).finally(() => {
    ended = true;
  });
  let failure: unknown;
  result.catch((error: unknown) => {
    failure = error;
  });
  const matches = (text: string | RegExp): boolean => {
    if (failure !== undefined) throw failure;
    return typeof text === "string" ? terminal.screen().includes(text) : text.test(terminal.screen());
  };
  const screen = (): string => terminal.screen();
  return {
    terminal,
    clock,
    source,
    result,
    screen,
    press: (...keys) => {
      for (const key of keys) terminal.stdin.write(KEYS[key] ?? key);
    },
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
    advance: (ms) => {
      clock.advance(ms);
    },
    close: async () => {
      source.close();
      if (!ended) {
        await waitFor(
          () => {
            terminal.stdin.write("\u0003");
            return ended;
          },
          () => screen(),
        );
      }
      await result;
    },
  };
}
