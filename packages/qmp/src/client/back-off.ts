/** How long to wait between attempts to connect. */
export interface BackOffOptions {
  /** Before the second attempt, in milliseconds. Default 100. */
  readonly firstMs?: number;
  /** At most, in milliseconds. Default 10 000. */
  readonly maxMs?: number;
  /** By how much the wait grows each time. Default 2. */
  readonly factor?: number;
  /** Part of each wait that is left to chance, so that many clients do not come back at once: 0 to 1. Default 0.2. */
  readonly jitter?: number;
  /** Chance, 0 to 1. Default Math.random. */
  readonly random?: () => number;
}

/** Waits that grow until something succeeds. */
export class BackOff {
  readonly #firstMs: number;
  readonly #maxMs: number;
  readonly #factor: number;
  readonly #jitter: number;
  readonly #random: () => number;
  #nextMs: number;

  /** @throws RangeError for values outside of what is said at each option. */
  constructor(options: BackOffOptions = {}) {
    const { firstMs = 100, maxMs = 10_000, factor = 2, jitter = 0.2, random = Math.random } = options;
    if (!(firstMs > 0) || !(maxMs >= firstMs))
      throw new RangeError("firstMs must be above 0, maxMs not below it");
    if (!(factor >= 1)) throw new RangeError("factor must be at least 1");
    if (!(jitter >= 0 && jitter <= 1)) throw new RangeError("jitter must be between 0 and 1");
    this.#firstMs = firstMs;
    this.#maxMs = maxMs;
    this.#factor = factor;
    this.#jitter = jitter;
    this.#random = random;
    this.#nextMs = firstMs;
  }

  /** The next wait, in milliseconds. */
  next(): number {
    const waitMs = this.#nextMs;
    this.#nextMs = Math.min(this.#maxMs, waitMs * this.#factor);
    return Math.round(waitMs * (1 - this.#jitter * this.#random()));
  }

  /** Something succeeded: begin anew. */
  reset(): void {
    this.#nextMs = this.#firstMs;
  }
}
