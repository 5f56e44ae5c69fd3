/** Half-life of the shown rates, seconds: calm enough to read, quick enough to see a stall. */
const RATE_HALF_LIFE_SEC = 5;

/**
 * The rate of a growing counter as an exponentially weighted average. Samples may come at any distance: each weighs
 * what its time span is worth, so that a faster tick does not make the number jump more.
 */
export class EwmaRate {
  readonly #halfLifeMs: number;
  #total: number | undefined;
  #atMs = 0;
  #rate: number | undefined;

  /** @param halfLifeSec - after this many seconds an old rate counts half. */
  constructor(halfLifeSec: number = RATE_HALF_LIFE_SEC) {
    if (!(halfLifeSec > 0)) throw new RangeError(`a half-life is positive, not ${halfLifeSec}`);
    this.#halfLifeMs = halfLifeSec * 1000;
  }

  /** Units per second; `undefined` before two samples. */
  get perSec(): number | undefined {
    return this.#rate;
  }

  /**
   * Takes the counter's value at a moment. A counter that went back started anew: it becomes the new base and the
   * rate stays as it was. A sample that is not later than the last one is ignored.
   */
  sample(total: number, atMs: number): void {
    if (!Number.isFinite(total)) return;
    if (this.#total === undefined) {
      this.#total = total;
      this.#atMs = atMs;
      return;
    }
    const spanMs = atMs - this.#atMs;
    if (spanMs <= 0) return;
    const moved = total - this.#total;
    this.#total = total;
    this.#atMs = atMs;
    const now = (moved * 1000) / spanMs;
    if (!(now >= 0 && now < Infinity)) return;
    const weight = this.#rate === undefined ? 1 : 1 - 0.5 ** (spanMs / this.#halfLifeMs);
    this.#rate = (this.#rate ?? 0) + (now - (this.#rate ?? 0)) * weight;
  }
}
