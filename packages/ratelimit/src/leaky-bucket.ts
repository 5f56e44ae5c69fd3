/** Waits shorter than this, milliseconds, are what rounding leaves of waits that are over. */
const ROUNDING_MS = 0.001;

/**
 * A bucket that leaks at a steady rate. Whatever goes through is poured in; while the bucket holds more than its capacity,
 * nothing more may go through. Time is the caller's, in milliseconds that never go back.
 */
export class LeakyBucket {
  /** Units leaking out in a second; positive. */
  readonly ratePerSec: number;
  /** Units that it may hold before it is full. */
  readonly capacity: number;
  #level: number;
  #atMs: number;

  constructor(ratePerSec: number, capacity: number, nowMs: number, level: number = 0) {
    this.ratePerSec = ratePerSec;
    this.capacity = capacity;
    this.#level = level;
    this.#atMs = nowMs;
  }

  /** Units in the bucket: more than its capacity when something large was let through. */
  level(nowMs: number): number {
    return Math.max(0, this.#level - (this.ratePerSec * (nowMs - this.#atMs)) / 1000);
  }

  /** Pours in. */
  pour(units: number, nowMs: number): void {
    this.#level = this.level(nowMs) + units;
    this.#atMs = nowMs;
  }

  /** How long it holds more than its capacity, milliseconds; 0 when something may go through now. */
  delay(nowMs: number): number {
    const delayMs = ((this.level(nowMs) - this.capacity) / this.ratePerSec) * 1000;
    return delayMs < ROUNDING_MS ? 0 : delayMs;
  }
}
