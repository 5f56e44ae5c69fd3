import type { NbdTimers } from "../../../src/index.ts";

/** A clock that stands still until it is told to go on. */
export class ManualTimers implements NbdTimers {
  readonly #alarms = new Set<{ readonly at: number; readonly run: () => void }>();
  #now = 0;

  now(): number {
    return this.#now;
  }

  after(delayMs: number, run: () => void): () => void {
    const alarm = { at: this.#now + delayMs, run };
    this.#alarms.add(alarm);
    return () => this.#alarms.delete(alarm);
  }

  /** Lets time pass and rings what is due, in order. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const due = [...this.#alarms].filter((alarm) => alarm.at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#alarms.delete(due);
      this.#now = Math.max(this.#now, due.at);
      due.run();
    }
    this.#now = end;
  }

  /** Lets time pass as for a process that is stopped meanwhile: what is due rings afterwards. */
  oversleep(ms: number): void {
    this.#now += ms;
    this.advance(0);
  }
}
