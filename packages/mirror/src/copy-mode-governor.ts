import type { CopyMode } from "./options.ts";

/** So long the job must be seen not to keep up before guests are slowed down, in milliseconds. */
const PATIENCE_MS = 1000;
/** And so long it must be seen to become READY too late. */
const LATE_PATIENCE_MS = 100;
/** So long guests must leave room before they are let go again. */
const CALM_MS = 5000;
/** Guests leave room when they write less than this share of what the job can copy. */
const CALM_SHARE = 0.5;
/** While a READY job waits for its end, so much may be left that all of the time copies it in so many seconds. */
const CATCH_UP_SEC = 1;

/** What the decision rests on. */
export interface Pressure {
  readonly isReady: boolean;
  /** The job has been told to end. */
  readonly isEnding: boolean;
  /** What is left can be copied while guests are held. */
  readonly isNearlyClean: boolean;
  /** What is left to be copied. */
  readonly leftBytes: number;
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
 * cannot keep up, or will come too late. When it is READY, guests are let go: it waits for somebody's decision, perhaps for
 * long, and what they write meanwhile is no loss as long as it is soon copied. Should it become too much, they are slowed down
 * again until they have shown for a while that the job could keep up; and so they are when the job is to end.
 */
export class CopyModeGovernor {
  #mode: Exclude<CopyMode, "auto"> = "background";
  #sinceMs: number | undefined;
  #wasReady = false;

  /** The mode in force. */
  get mode(): Exclude<CopyMode, "auto"> {
    return this.#mode;
  }

  /** The mode from now on. */
  decide(nowMs: number, pressure: Pressure): Exclude<CopyMode, "auto"> {
    if (pressure.isReady && !this.#wasReady) {
      this.#wasReady = true;
      this.#turnTo("background");
    }
    const patienceMs = this.#patienceMs(pressure);
    if (patienceMs === undefined) {
      this.#sinceMs = undefined;
      return this.#mode;
    }
    this.#sinceMs ??= nowMs;
    if (nowMs - this.#sinceMs >= patienceMs) {
      this.#turnTo(this.#mode === "background" ? "write-blocking" : "background");
    }
    return this.#mode;
  }

  #turnTo(mode: Exclude<CopyMode, "auto">): void {
    this.#mode = mode;
    this.#sinceMs = undefined;
  }

  /** How long the other mode must be called for before it is turned to; undefined when it is not. */
  #patienceMs(pressure: Pressure): number | undefined {
    if (this.#mode === "write-blocking") return leavesRoom(pressure) ? CALM_MS : undefined;
    const { isReady, isEnding, isLate, isNearlyClean, converging, etaSec } = pressure;
    if (isLate || (isReady && isEnding && !isNearlyClean)) return LATE_PATIENCE_MS;
    if (isReady && !isEnding) return isTooMuch(pressure) ? LATE_PATIENCE_MS : undefined;
    return converging && etaSec === "never" ? PATIENCE_MS : undefined;
  }
}

/** A READY job that nobody has told to end could keep up with its guests. */
function leavesRoom({ isReady, isEnding, guestBytesPerSec, capacityBytesPerSec }: Pressure): boolean {
  if (!isReady || isEnding || guestBytesPerSec === undefined || capacityBytesPerSec === undefined)
    return false;
  return guestBytesPerSec < capacityBytesPerSec * CALM_SHARE;
}

function isTooMuch({ leftBytes, isNearlyClean, capacityBytesPerSec }: Pressure): boolean {
  if (isNearlyClean) return false;
  return capacityBytesPerSec === undefined || leftBytes > capacityBytesPerSec * CATCH_UP_SEC;
}
