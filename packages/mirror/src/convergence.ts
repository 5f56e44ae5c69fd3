import type { DirtyBitmap } from "@blockmirror/block-driver";
import type { CopyEngine } from "./copy-engine.ts";
import { CopyModeGovernor } from "./copy-mode-governor.ts";
import { Courtesy } from "./courtesy.ts";
import { Deadline, type Standing } from "./deadline.ts";
import type { GuestReach } from "./guest-reach.ts";
import { DEFAULT_SWITCH_PAUSE_MS, type CopyMode } from "./options.ts";
import type { ProgressMeter } from "./progress-meter.ts";

/** So often the walk comes round with next to nothing left before guests are held to end it. */
const SWEEPS_BEFORE_HOLD = 2;
/** Until a rate is known, this much may be copied while guests are held. */
const DEFAULT_SWITCH_BYTES = 1024 * 1024;

/** What {@link Convergence} judges. */
export interface ConvergenceInit {
  readonly engine: CopyEngine;
  readonly dirty: DirtyBitmap;
  readonly meter: ProgressMeter;
  readonly reach: GuestReach;
  /** The longest that guests should be held, in milliseconds. */
  readonly switchPauseMs: number;
  /** How many requests guests have made so far. */
  readonly guestRequests: () => number;
}

/** How near source and target are to each other, and what is done about guests that keep them apart. */
export class Convergence {
  /** When the job should be READY, if the copy mode is chosen here. */
  readonly deadline: Deadline = new Deadline();
  readonly #courtesy: Courtesy;
  readonly #init: ConvergenceInit;
  #governor: CopyModeGovernor | undefined;
  /** Sweeps at the time when next to nothing was left first. */
  #nearlyCleanSince: number | undefined;
  /** The copy takes all of the time, or it comes too late. */
  #hurries = false;

  constructor(init: ConvergenceInit) {
    this.#init = init;
    this.#courtesy = new Courtesy(init.guestRequests);
  }

  /** Whether the copy mode is chosen by {@link govern}. */
  get choosesMode(): boolean {
    return this.#governor !== undefined;
  }

  /** The mode that was asked for. */
  setMode(mode: CopyMode): void {
    this.#governor = mode === "auto" ? (this.#governor ?? new CopyModeGovernor()) : undefined;
  }

  /**
   * Looks at rates and what is left. `isEnding`: the job is READY and has been told to end.
   * @returns the copy mode from now on, if that is to be chosen here.
   */
  govern(nowMs: number, isReady: boolean, isEnding: boolean): Exclude<CopyMode, "auto"> | undefined {
    const { meter, engine, dirty } = this.#init;
    const { etaSec } = meter;
    this.#init.reach.note(nowMs);
    const isDue = this.#governor !== undefined && !isReady;
    const standing = this.#standing();
    const isLateAtThisPace = this.deadline.isMissedAtThisPace(nowMs, standing);
    // Guests that are slowed down so that the job comes to an end are not served by its taking longer.
    this.#hurries =
      isDue &&
      (this.#governor?.mode === "write-blocking" ||
        this.deadline.isMeasuring(nowMs, standing.doneBytes) ||
        isLateAtThisPace);
    const isNearlyClean = this.isNearlyClean();
    // With the mode chosen here, a READY job that waits need not catch up before it is told to end.
    const isBehind = etaSec === "never" && (this.#governor === undefined || !isReady || isEnding);
    this.#courtesy.note(nowMs, isNearlyClean ? "even" : isBehind ? "behind" : undefined);
    return this.#governor?.decide(nowMs, {
      isReady,
      isEnding,
      isNearlyClean,
      leftBytes: dirty.dirtyBytes + engine.inFlight.bytes,
      isLate: isDue && (isLateAtThisPace || this.deadline.isMissed(nowMs, standing)),
      converging: engine.sweeps > 0 || isReady,
      etaSec,
      guestBytesPerSec: meter.guestBytesPerSec,
      capacityBytesPerSec: meter.capacityBytesPerSec,
    });
  }

  /**
   * Milliseconds that the copy leaves to busy guests before it goes on; undefined when it need not be courteous, and may use
   * all of its operations. To be asked often.
   */
  restMs(nowMs: number): number | undefined {
    if (!this.#courtesy.yields(nowMs) || this.#hurries) return undefined;
    // What is written to both sides is not copied for nothing.
    const isAgain = this.#governor?.mode !== "write-blocking" && this.#init.engine.sweeps > 0;
    return this.#courtesy.restMs(nowMs, isAgain);
  }

  #standing(): Standing {
    const { meter, engine } = this.#init;
    const { done, left } = meter.work();
    const firstBytes = done - engine.bytesRecopied - engine.bytesMirrored;
    const dirtyBytesPerSec = this.#governor?.mode === "background" ? (meter.guestBytesPerSec ?? 0) : 0;
    return { doneBytes: done, firstBytes, leftBytes: left, dirtyBytesPerSec };
  }

  /** Nothing is dirty and nothing is being copied. */
  isClean(): boolean {
    return this.#init.dirty.bits.isEmpty && this.#init.engine.inFlight.operations === 0;
  }

  /** Little enough is left to copy it while guests are held. */
  isNearlyClean(): boolean {
    const { dirty, engine } = this.#init;
    return dirty.dirtyBytes + engine.inFlight.bytes <= this.#heldBytes();
  }

  /**
   * Beside a guest that writes all the time something is always left: as much as is under way at once, however short guests are to
   * be held, and never less than a chunk. A job that waited for less would not come to its end.
   */
  #heldBytes(): number {
    const { meter, switchPauseMs, engine, dirty } = this.#init;
    const { capacityBytesPerSec } = meter;
    if (capacityBytesPerSec === undefined) return DEFAULT_SWITCH_BYTES;
    const bytesIn = (pauseMs: number): number => (capacityBytesPerSec * pauseMs) / 1000;
    const least = Math.min(engine.chunksAtOnce * dirty.granularity, bytesIn(DEFAULT_SWITCH_PAUSE_MS));
    return Math.max(bytesIn(switchPauseMs), least, dirty.granularity);
  }

  /**
   * A guest that never rests can keep the job from ever seeing a clean instant, however little is dirty at a time. When the
   * walk has come round twice with next to nothing left, guests are held for a moment to make that instant.
   */
  isStalled(): boolean {
    if (!this.isNearlyClean()) {
      this.#nearlyCleanSince = undefined;
      return false;
    }
    const { sweeps } = this.#init.engine;
    this.#nearlyCleanSince ??= sweeps;
    if (sweeps - this.#nearlyCleanSince < SWEEPS_BEFORE_HOLD) return false;
    this.#nearlyCleanSince = undefined;
    return true;
  }
}
