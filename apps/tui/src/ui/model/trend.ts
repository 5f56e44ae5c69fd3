/** Time between two points of a trend, milliseconds. */
export const TREND_PERIOD_MS = 1000;

/** Points a trend remembers: four minutes. */
export const TREND_CAPACITY = 240;

/** The recent past of one number at a fixed period, oldest points forgotten first. */
export class Trend {
  readonly #values: Float64Array = new Float64Array(TREND_CAPACITY);
  #count = 0;
  #lastSlot: number | undefined;

  /** Number of points remembered. */
  get length(): number {
    return Math.min(this.#count, TREND_CAPACITY);
  }

  /**
   * Records the value at a moment. Within one period the last value wins; periods without a sample repeat the value
   * before them, so that the time axis stays true.
   */
  record(value: number, atMs: number): void {
    const slot = Math.floor(atMs / TREND_PERIOD_MS);
    const known = Number.isFinite(value) && value > 0 ? value : 0;
    if (this.#lastSlot === undefined) {
      this.#push(known);
    } else if (slot > this.#lastSlot) {
      const gap = Math.min(slot - this.#lastSlot - 1, TREND_CAPACITY);
      const before = this.at(0);
      for (let missed = 0; missed < gap; missed++) this.#push(before);
      this.#push(known);
    } else {
      this.#values[(this.#count - 1) % TREND_CAPACITY] = known;
      return;
    }
    this.#lastSlot = slot;
  }

  /** The value `age` periods ago; 0 before the beginning. */
  at(age: number): number {
    if (age < 0 || age >= this.length) return 0;
    return this.#values[(this.#count - 1 - age) % TREND_CAPACITY] ?? 0;
  }

  /** The last `count` values, oldest first; fewer when there are fewer. */
  latest(count: number): number[] {
    const length = Math.min(Math.max(0, count), this.length);
    return Array.from({ length }, (_, index) => this.at(length - 1 - index));
  }

  /** An independent copy, to freeze a display. */
  copy(): Trend {
    const copy = new Trend();
    copy.#values.set(this.#values);
    copy.#count = this.#count;
    copy.#lastSlot = this.#lastSlot;
    return copy;
  }

  #push(value: number): void {
    this.#values[this.#count % TREND_CAPACITY] = value;
    this.#count++;
  }
}
