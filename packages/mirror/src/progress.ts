/** What a mirror is doing, for people. */
export type MirrorPhase = "scan" | "zero" | "copy" | "converge" | "ready" | "switch";

/** Counters of a mirror job; all sizes in bytes. */
export interface MirrorProgress {
  readonly phase: MirrorPhase;
  /** Read from the source and written to the target, repeats included. */
  readonly bytesCopied: number;
  /** Needed no copying because source and target read as zeroes. */
  readonly bytesSkipped: number;
  /** Made zero on the target without reading. */
  readonly bytesZeroed: number;
  /** Brought to the target by writes of guests themselves, in write-blocking mode. */
  readonly bytesMirrored: number;
  /** The part of `bytesCopied` that had been copied before and was written to meanwhile. */
  readonly bytesRecopied: number;
  /** Not copied since it was last written. */
  readonly dirtyBytes: number;
  readonly inFlightBytes: number;
  readonly inFlightOperations: number;
  readonly maxInFlightOperations: number;
  /** Average over the last seconds; undefined until there is something to average. */
  readonly copyRateBytesPerSec: number | undefined;
  /** Rate at which clean chunks become dirty again. */
  readonly dirtyRateBytesPerSec: number | undefined;
  /** Seconds until nothing is left at these rates; `never` when the source is dirtied as fast as it is copied. */
  readonly etaSec: number | "never" | undefined;
  /**
   * Milliseconds since a device last answered anything that the job waits for; 0 while it waits for nothing. When it grows past
   * seconds a device hangs, whatever the rates, which are averages, still say.
   */
  readonly unansweredMs: number;
  /** Who is waited for; undefined when that is both sides, or nobody. */
  readonly unansweredBy: "source" | "target" | undefined;
}

const HALF_LIFE_MS = 3000;
const MIN_SAMPLE_MS = 50;

/**
 * An average rate from a growing total, with exponentially fading memory. Deterministic: it knows only the times it is
 * told.
 */
export class RateMeter {
  #total = 0;
  #atMs: number | undefined;
  #weight = 0;
  #sum = 0;
  #peak = 0;

  /** Notes that the total is `total` at `nowMs`. Samples closer than 50 ms are left to the next one. */
  sample(total: number, nowMs: number): void {
    if (this.#atMs === undefined) {
      this.#total = total;
      this.#atMs = nowMs;
      return;
    }
    const elapsedMs = nowMs - this.#atMs;
    if (elapsedMs < MIN_SAMPLE_MS) return;
    const keep = 0.5 ** (elapsedMs / HALF_LIFE_MS);
    const rate = ((total - this.#total) * 1000) / elapsedMs;
    // The weight makes the first seconds a plain average, rather than pulling them towards zero.
    this.#sum = this.#sum * keep + rate * (1 - keep);
    this.#weight = this.#weight * keep + (1 - keep);
    this.#peak = Math.max(this.#peak, this.#sum / this.#weight);
    this.#total = total;
    this.#atMs = nowMs;
  }

  /** Forgets the time between: after a pause it says nothing about the rate. */
  restart(total: number, nowMs: number): void {
    this.#total = total;
    this.#atMs = nowMs;
  }

  /** The highest average so far: what can be reached when there is enough to do. Undefined before the second sample. */
  get peakPerSecond(): number | undefined {
    return this.#weight === 0 ? undefined : this.#peak;
  }

  /** Per second; undefined before the second sample. */
  get perSecond(): number | undefined {
    return this.#weight === 0 ? undefined : Math.max(0, this.#sum / this.#weight);
  }
}

/**
 * A writer that outruns the copy settles where it dirties just as much as is copied, since what is dirty already does not
 * count again; the two averages then differ by noise only.
 */
const BALANCE = 0.05;

/**
 * Seconds until `remaining` bytes are copied.
 * @returns 0 when nothing remains, `never` when the source is dirtied at least as fast as it is copied, undefined when
 * the rate is not known yet, or nothing moves at all.
 */
export function estimateEta(
  remaining: number,
  copyRate: number | undefined,
  dirtyRate: number | undefined,
): number | "never" | undefined {
  if (remaining === 0) return 0;
  if (copyRate === undefined) return undefined;
  // Nothing is copied and nobody writes: it has only just begun, or it is held up. It does not diverge.
  if (copyRate === 0 && !((dirtyRate ?? 0) > 0)) return undefined;
  const net = copyRate - (dirtyRate ?? 0);
  return net <= copyRate * BALANCE ? "never" : remaining / net;
}
