import type { DirtyBitmap } from "@blockmirror/block-driver";
import type { CopyEngine } from "./copy-engine.ts";
import { CopyModeGovernor } from "./copy-mode-governor.ts";
import { Courtesy } from "./courtesy.ts";
import type { CopyMode } from "./options.ts";
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
  /** The longest that guests should be held, in milliseconds. */
  readonly switchPauseMs: number;
  /** How many requests guests have made so far. */
  readonly guestRequests: () => number;
}

/** How near source and target are to each other, and what is done about guests that keep them apart. */
export class Convergence {
  /** Who goes first, guests or the copy. */
  readonly courtesy: Courtesy;
  readonly #init: ConvergenceInit;
  #governor: CopyModeGovernor | undefined;
  /** Sweeps at the time when next to nothing was left first. */
  #nearlyCleanSince: number | undefined;

  constructor(init: ConvergenceInit) {
    this.#init = init;
    this.courtesy = new Courtesy(init.guestRequests);
  }

  /** Whether the copy mode is chosen by {@link govern}. */
  get choosesMode(): boolean {
    return this.#governor !== undefined;
  }

  /** The mode that was asked for. */
  setMode(mode: CopyMode): void {
    this.#governor = mode === "auto" ? (this.#governor ?? new CopyModeGovernor()) : undefined;
  }

  /** Looks at rates and what is left. @returns the copy mode from now on, if that is to be chosen here. */
  govern(nowMs: number, isReady: boolean): Exclude<CopyMode, "auto"> | undefined {
    const { meter, engine } = this.#init;
    const { etaSec } = meter;
    this.courtesy.note(nowMs, this.isNearlyClean() ? "even" : etaSec === "never" ? "behind" : undefined);
    return this.#governor?.decide(nowMs, {
      converging: engine.sweeps > 0 || isReady,
      etaSec,
      guestBytesPerSec: meter.guestBytesPerSec,
      capacityBytesPerSec: meter.capacityBytesPerSec,
    });
  }

  /** Nothing is dirty and nothing is being copied. */
  isClean(): boolean {
    return this.#init.dirty.bits.isEmpty && this.#init.engine.inFlight.operations === 0;
  }

  /** Little enough is left to copy it while guests are held. */
  isNearlyClean(): boolean {
    const { meter, switchPauseMs, dirty, engine } = this.#init;
    const { capacityBytesPerSec } = meter;
    const most =
      capacityBytesPerSec === undefined ? DEFAULT_SWITCH_BYTES : (capacityBytesPerSec * switchPauseMs) / 1000;
    return dirty.dirtyBytes + engine.inFlight.bytes <= most;
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
