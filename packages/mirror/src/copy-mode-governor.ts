import type { CopyMode } from "./options.ts";

/** So long the job must be seen not to keep up before guests are slowed down, in milliseconds. */
const PATIENCE_MS = 1000;
/** And so long it must be seen to become READY too late. */
const LATE_PATIENCE_MS = 100;
/** So long guests must leave room before they are let go again. */
const CALM_MS = 5000;
/** Guests leave room when they write less than this share of what the job can copy. */
const CALM_SHARE = 0.5;

/** What the decision rests on. */
export interface Pressure {
  readonly isReady: boolean;
  /** The job is not READY, and will not be in time even if it takes all of the time. */
  readonly isLate: boolean;
  /** Everything has been copied once, and what is left was written since. */
  readonly converging: boolean;
  readonly etaSec: number | "never" | undefined;
  /** What guests write, and what the job has been able to copy. */
  readonly guestBytesPerSec: number | undefined;
  readonly capacityBytesPerSec: number | undefined;
}

/**
 * The mode of `copyMode: "auto"`: background, and write-blocking from the moment when the job has shown for a while that it
 * cannot keep up, or will come too late. When it is READY, and guests have shown for a while that it could keep up, they are
 * let go again.
 */
export class CopyModeGovernor {
  #mode: Exclude<CopyMode, "auto"> = "background";
  #sinceMs: number | undefined;

  /** The mode in force. */
  get mode(): Exclude<CopyMode, "auto"> {
    return this.#mode;
  }

  /** The mode from now on. */
  decide(nowMs: number, pressure: Pressure): Exclude<CopyMode, "auto"> {
    if (!this.#wantsOther(pressure)) {
      this.#sinceMs = undefined;
      return this.#mode;
    }
    this.#sinceMs ??= nowMs;
    const patienceMs =
      this.#mode === "write-blocking" ? CALM_MS : pressure.isLate ? LATE_PATIENCE_MS : PATIENCE_MS;
    if (nowMs - this.#sinceMs < patienceMs) return this.#mode;
    this.#mode = this.#mode === "background" ? "write-blocking" : "background";
    this.#sinceMs = undefined;
    return this.#mode;
  }

  #wantsOther(pressure: Pressure): boolean {
    const { isReady, isLate, converging, etaSec, guestBytesPerSec, capacityBytesPerSec } = pressure;
    if (this.#mode === "background") return isLate || (converging && etaSec === "never");
    if (!isReady || guestBytesPerSec === undefined || capacityBytesPerSec === undefined) return false;
    return guestBytesPerSec < capacityBytesPerSec * CALM_SHARE;
  }
}
