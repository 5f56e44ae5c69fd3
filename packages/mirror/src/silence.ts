/** Whose answer is awaited; `both` where the storage copies by itself. */
export type AskedSide = "read" | "write" | "both";

/**
 * How long the devices of a job have left unanswered all that they were asked for. A rate is an average and goes on for a
 * while when a device hangs, and an operation in flight looks like work; only this tells that nothing comes back.
 */
export class Silence {
  readonly #nowMs: () => number;
  #reads = 0;
  #writes = 0;
  #copies = 0;
  #answeredAtMs = 0;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Milliseconds since the last answer, or since somebody was asked first; 0 while nothing is awaited. */
  get ms(): number {
    return this.#awaited === 0 ? 0 : Math.max(0, this.#nowMs() - this.#answeredAtMs);
  }

  /** Whose answers are awaited; undefined when of both sides, or none. */
  get side(): Exclude<AskedSide, "both"> | undefined {
    if (this.#copies > 0 || this.#reads > 0 === this.#writes > 0) return undefined;
    return this.#reads > 0 ? "read" : "write";
  }

  /** Something is asked for. */
  begin(side: AskedSide): void {
    if (this.#awaited === 0) this.#answeredAtMs = this.#nowMs();
    this.#count(side, 1);
  }

  /** It was answered, and the next thing is asked for. */
  proceed(from: AskedSide, to: AskedSide): void {
    this.#answeredAtMs = this.#nowMs();
    this.#count(from, -1);
    this.#count(to, 1);
  }

  /** It was answered, or has failed. */
  end(side: AskedSide): void {
    this.#answeredAtMs = this.#nowMs();
    this.#count(side, -1);
  }

  get #awaited(): number {
    return this.#reads + this.#writes + this.#copies;
  }

  #count(side: AskedSide, by: 1 | -1): void {
    if (side === "read") this.#reads += by;
    else if (side === "write") this.#writes += by;
    else this.#copies += by;
  }
}
