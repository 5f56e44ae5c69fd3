import type { EmbeddedEngine } from "../engine/embedded-engine.ts";
import type { ExportSource } from "../exports/export-source.ts";
import { reportJobs, type JobReporter } from "../output/event-lines.ts";
import { jsonWording } from "../output/json.ts";
import { foregroundWording, plainWording } from "../output/plain.ts";
import type { UiOptions } from "../ui/ui-options.ts";
import type { DisplayOptions, OutputMode } from "./display.ts";
import { UsageError } from "./exit-status.ts";
import { Interrupts } from "./interrupts.ts";
import { readOwnKeys } from "./own-keys.ts";
import { onOutputLost } from "./standard-output.ts";
import { uiSettings } from "./ui-settings.ts";

/** How the showing ended: by itself, when `done` settled, or because the user wants out. */
export type ShowResult = "done" | "interrupted" | "quit";

/**
 * Plain lines unless a person sits at a terminal with both its ends.
 * @throws UsageError where the terminal UI is wanted and there is no terminal; ask before anything is begun.
 */
export function chooseOutput(wanted: OutputMode | undefined): OutputMode {
  if (wanted === "tui") mustBeTerminal();
  if (wanted !== undefined) return wanted;
  return process.stdout.isTTY && process.stdin.isTTY && process.env["TERM"] !== "dumb" ? "tui" : "plain";
}

function mustBeTerminal(): void {
  const [missing] = [
    ...(process.stdout.isTTY ? [] : ["output"]),
    ...(process.stdin.isTTY ? [] : ["input, which keys come from,"]),
  ];
  if (missing === undefined) return;
  throw new UsageError(`--output tui needs a terminal, and standard ${missing} is none; give plain or json`);
}

/**
 * What a command shows of its jobs, and how the user ends them. Open it before the first job, so that no event is missed
 * and an interrupt finds somebody from the start. The first interrupt cancels the jobs in order, the second by force; a
 * reader that closes the pipe counts as the first.
 */
export class JobView {
  readonly mode: OutputMode;
  readonly #engine: EmbeddedEngine;
  readonly #settings: UiOptions | undefined;
  readonly #interrupts: Interrupts;
  readonly #reporter: JobReporter | undefined;
  readonly #unwatch: () => void;
  #exports: ExportSource | undefined;

  /**
   * @param attachable - others can attach to the jobs, and steer them.
   * @throws UsageError for a key file that cannot be used.
   */
  constructor(engine: EmbeddedEngine, display: DisplayOptions, attachable = false) {
    this.mode = chooseOutput(display.output);
    if (this.mode === "tui") this.#settings = uiSettings(display, readOwnKeys(process.env));
    this.#engine = engine;
    this.#interrupts = new Interrupts((force) => this.#cancel(force));
    this.#unwatch = onOutputLost((error) => this.#outputLost(error));
    if (this.mode !== "tui") {
      const plain = attachable ? plainWording : foregroundWording;
      const wording = this.mode === "json" ? jsonWording : plain;
      this.#reporter = reportJobs(engine, process.stdout, wording, display.intervalMs);
    }
  }

  /** Aborted as soon as the user wants out. */
  get signal(): AbortSignal {
    return this.#interrupts.signal;
  }

  /** Has the terminal UI show what this program exports, beside the jobs. Before {@link show}. */
  showExports(exports: ExportSource): void {
    this.#exports = exports;
  }

  /**
   * Shows the jobs until `done` settles or the user ends it. In the terminal UI the user leaves when he likes; `done`
   * settling does not end it unless `closeWhenDone`. Lines always go on until `done` settles.
   */
  async show(done: Promise<unknown>, closeWhenDone: boolean): Promise<ShowResult> {
    if (this.signal.aborted) {
      // Interrupted before there was a job to cancel.
      this.#cancel(false);
      await done;
      return "interrupted";
    }
    if (this.mode === "tui") return this.#showUi(done, closeWhenDone);
    await done;
    return this.#ended("done");
  }

  /** Resolves when the user wants out. */
  interrupted(): Promise<void> {
    if (this.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      this.signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  /** Ends the showing and gives the signals back. */
  close(): void {
    this.#reporter?.stop();
    this.#unwatch();
    this.#interrupts.disarm();
  }

  #ended(result: ShowResult): ShowResult {
    return this.signal.aborted ? "interrupted" : result;
  }

  #cancel(force: boolean): void {
    void this.#engine.cancelAll({ force });
  }

  #outputLost(error: NodeJS.ErrnoException): void {
    if (error.code !== "EPIPE") {
      process.stderr.write(`blockmirror: standard output cannot be written: ${error.message}; cancelling\n`);
    }
    this.#interrupts.note();
    this.#cancel(false);
  }

  async #showUi(done: Promise<unknown>, closeWhenDone: boolean): Promise<ShowResult> {
    // Loaded only now: no other output needs it.
    const { startUi } = await import("../ui/start-ui.tsx");
    const engine = this.#engine;
    // The UI has signal handlers of its own; the orderly end that may follow it needs ours again.
    this.#interrupts.disarm();
    const result = await startUi(engine, {
      ...this.#settings,
      exports: this.#exports,
      onInterrupt: () => engine.cancelAll({ force: false }),
      onForceInterrupt: () => void engine.cancelAll({ force: true }),
      ...(closeWhenDone && { until: done.then(() => {}) }),
    }).finally(() => this.#interrupts.arm());
    if (result.reason === "done" || result.reason === "quit") return result.reason;
    this.#interrupts.note();
    await engine.cancelAll({ force: result.reason === "force-interrupt" });
    return "interrupted";
  }
}
