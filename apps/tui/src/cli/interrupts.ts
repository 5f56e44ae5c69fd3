import { EXIT } from "./exit-status.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Told of every interrupt: `force` from the second on. */
export type InterruptListener = (force: boolean) => void;

/**
 * The signals that ask the program to end. The first asks in order, the second at once, and the third does not wait for
 * anybody: a job may hang in an operation that cannot be taken back.
 */
export class Interrupts {
  readonly #listener: InterruptListener;
  readonly #controller = new AbortController();
  #count = 0;
  #armed = false;

  /** Takes the signals over until {@link disarm}. */
  constructor(listener: InterruptListener) {
    this.#listener = listener;
    this.arm();
  }

  /** Aborted by the first interrupt. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  arm(): void {
    if (this.#armed) return;
    this.#armed = true;
    for (const name of SIGNALS) process.on(name, this.#interrupt);
  }

  /** Gives the signals back, for somebody else to take them or for the default to apply. */
  disarm(): void {
    this.#armed = false;
    for (const name of SIGNALS) process.off(name, this.#interrupt);
  }

  /** Counts an interrupt that came by another way, a key or a closed pipe; the next signal is then the second. */
  note(): void {
    this.#count += 1;
    this.#controller.abort();
  }

  readonly #interrupt = (name: NodeJS.Signals): void => {
    this.note();
    if (this.#count > 2) process.exit(EXIT.interrupted);
    const force = this.#count > 1;
    // In a terminal a line of progress, and the ^C that it echoed, may stand where this goes.
    const clear = process.stderr.isTTY ? "\r\u{1b}[K" : "";
    process.stderr.write(
      force
        ? `${clear}blockmirror: ${name} again: stopping at once\n`
        : `${clear}blockmirror: ${name}: cancelling in order; once more stops at once\n`,
    );
    this.#listener(force);
  };
}
