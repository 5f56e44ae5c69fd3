import { formatPercent } from "../format/percent.ts";

/** Milliseconds between two updates: often enough to be alive, rarely enough to cost nothing. */
const INTERVAL_MS = 100;

/** One line on standard error that says how far a command is; nothing without a terminal there. */
export class ProgressLine {
  readonly #what: string;
  readonly #show: boolean;
  #last = 0;
  #shown = false;

  constructor(what: string) {
    this.#what = what;
    this.#show = process.stderr.isTTY;
  }

  /** Says that `done` of `total` is done. */
  update(done: number, total: number): void {
    if (!this.#show) return;
    const now = Date.now();
    if (now - this.#last < INTERVAL_MS) return;
    this.#last = now;
    this.#shown = true;
    const share = formatPercent(total === 0 ? undefined : done / total, false).trim();
    process.stderr.write(`\r\u{1b}[K${this.#what}: ${share}`);
  }

  /** Takes the line away. */
  end(): void {
    if (this.#shown) process.stderr.write("\r\u{1b}[K");
    this.#shown = false;
  }
}
