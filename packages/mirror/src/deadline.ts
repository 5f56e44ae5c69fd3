/**
 * READY is to come within this many times what the copy would take alone. Guests slow it down while that is measured, and it
 * looks longer than it is, so there is a margin to three times.
 */
const MOST_TIMES_ALONE = 2;
/** So long the copy takes all of the time at first, in milliseconds, to see how fast it can be. */
const MEASURE_MS = 200;
/** Chunks that guests dirtied lie scattered, and take the copy so many times as long as a run of them. */
const SCATTERED_TIMES = 6;
/** A pace says something after so many milliseconds. */
const SHORTEST_MS = 100;

/** Where a copy stands. */
export interface Standing {
  readonly doneBytes: number;
  /** What of it was handled for the first time. */
  readonly firstBytes: number;
  readonly leftBytes: number;
  /** How fast chunks that were copied become dirty again. */
  readonly dirtyBytesPerSec: number;
}

/** Whether a copy will be READY in time, judged by how fast it was when it had all of the time. */
export class Deadline {
  #startMs: number | undefined;
  #workBytes = 0;
  #measured: { readonly atMs: number; readonly doneBytes: number; readonly bytesPerMs: number } | undefined;
  #pausedAtMs: number | undefined;
  #pausedMs = 0;

  /** The copy begins, with so much to do. */
  begin(nowMs: number, workBytes: number): void {
    this.#startMs = nowMs;
    this.#workBytes = workBytes;
  }

  /** A pause of the user is nobody's delay. */
  pause(nowMs: number): void {
    this.#pausedAtMs ??= nowMs;
  }

  resume(nowMs: number): void {
    if (this.#startMs !== undefined) this.#pausedMs += nowMs - (this.#pausedAtMs ?? nowMs);
    this.#pausedAtMs = undefined;
  }

  /** Notes what was done. @returns whether the copy still has to take all of the time, so that it can be measured. */
  isMeasuring(nowMs: number, doneBytes: number): boolean {
    if (this.#startMs === undefined || this.#measured !== undefined) return false;
    const elapsedMs = nowMs - this.#startMs - this.#pausedMs;
    if (elapsedMs < MEASURE_MS || doneBytes === 0) return true;
    this.#measured = { atMs: nowMs - this.#pausedMs, doneBytes, bytesPerMs: doneBytes / elapsedMs };
    return false;
  }

  /** Whether the copy comes too late, as fast as it was when it had all of the time. */
  isMissed(nowMs: number, standing: Standing): boolean {
    return this.#measured !== undefined && this.#isLate(nowMs, standing, this.#measured.bytesPerMs);
  }

  /** Whether a copy that goes on as it did since it was measured comes too late. */
  isMissedAtThisPace(nowMs: number, standing: Standing): boolean {
    if (this.#measured === undefined) return false;
    const elapsedMs = nowMs - this.#pausedMs - this.#measured.atMs;
    if (elapsedMs < SHORTEST_MS) return false;
    return this.#isLate(nowMs, standing, (standing.doneBytes - this.#measured.doneBytes) / elapsedMs);
  }

  #isLate(nowMs: number, standing: Standing, bytesPerMs: number): boolean {
    const { firstBytes, leftBytes, dirtyBytesPerSec } = standing;
    if (this.#startMs === undefined || this.#measured === undefined || leftBytes === 0) return false;
    const elapsedMs = nowMs - this.#startMs - this.#pausedMs;
    const limitMs = (MOST_TIMES_ALONE * this.#workBytes) / this.#measured.bytesPerMs;
    const dirtyPerMs = dirtyBytesPerSec / 1000;
    if (bytesPerMs <= dirtyPerMs) return true;
    // First what was never copied, then what guests have dirtied behind the copy and will dirty by then.
    const againBytes = Math.max(0, leftBytes - Math.max(0, this.#workBytes - firstBytes));
    const firstMs = (leftBytes - againBytes) / bytesPerMs;
    const againMs = ((againBytes + firstMs * dirtyPerMs) * SCATTERED_TIMES) / bytesPerMs;
    return elapsedMs + firstMs + againMs > limitMs;
  }
}
