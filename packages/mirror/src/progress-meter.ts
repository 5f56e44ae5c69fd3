import type { DirtyBitmap } from "@blockmirror/block-driver";
import type { FailedSide } from "./copy-engine-init.ts";
import type { CopyEngine } from "./copy-engine.ts";
import { MAX_OPERATIONS } from "./fair-share.ts";
import type { GuestReach } from "./guest-reach.ts";
import type { Silence } from "./silence.ts";
import { estimateEta, RateMeter, type MirrorPhase, type MirrorProgress } from "./progress.ts";

/** Turns the counters of a copy engine into progress: what is done, what is left, how fast, until when. */
export class ProgressMeter {
  readonly #engine: CopyEngine;
  readonly #dirty: DirtyBitmap;
  readonly #reach: GuestReach;
  readonly #silence: Silence;
  readonly #copyRate = new RateMeter();
  readonly #dirtyRate = new RateMeter();
  readonly #guestRate = new RateMeter();
  /** Bytes that the scan found to need nothing; undefined while it runs. */
  #scanSkipped: number | undefined;

  constructor(engine: CopyEngine, dirty: DirtyBitmap, reach: GuestReach, silence: Silence) {
    this.#engine = engine;
    this.#dirty = dirty;
    this.#reach = reach;
    this.#silence = silence;
  }

  /** How fast the job has copied when it had enough to do; undefined until it has. */
  get capacityBytesPerSec(): number | undefined {
    return this.#copyRate.peakPerSecond;
  }

  /** How fast guests write, as {@link GuestReach} counts; undefined until it is known. */
  get guestBytesPerSec(): number | undefined {
    return this.#guestRate.perSecond;
  }

  /** Seconds until nothing is left, as {@link estimateEta} has it; undefined before the scan is over. */
  get etaSec(): number | "never" | undefined {
    if (this.#scanSkipped === undefined) return undefined;
    return estimateEta(this.work().left, this.#copyRate.perSecond, this.#dirtyRate.perSecond);
  }

  /** The scan is over and found that `skippedBytes` need nothing: only now is it known what is left. */
  scanned(skippedBytes: number): void {
    this.#scanSkipped = skippedBytes;
  }

  /**
   * Bytes handled so far, which never become fewer, and bytes still to be handled, which guests can make more (as in the
   * progress of QEMU's jobs: the end moves, not the beginning).
   */
  work(): { readonly done: number; readonly left: number } {
    const engine = this.#engine;
    return {
      done: engine.bytesCopied + engine.bytesZeroed + engine.bytesSkipped + engine.bytesMirrored,
      left: this.#dirty.dirtyBytes + engine.inFlight.bytes,
    };
  }

  /** Notes where the counters are at a time. */
  sample(nowMs: number): void {
    this.#copyRate.sample(this.#engine.bytesCopied + this.#engine.bytesZeroed, nowMs);
    this.#dirtyRate.sample(this.#engine.bytesDirtied, nowMs);
    this.#guestRate.sample(this.#reach.bytes, nowMs);
  }

  /** Forgets the time since the last sample: the job was paused. */
  restart(nowMs: number): void {
    this.#copyRate.restart(this.#engine.bytesCopied + this.#engine.bytesZeroed, nowMs);
    this.#dirtyRate.restart(this.#engine.bytesDirtied, nowMs);
    this.#guestRate.restart(this.#reach.bytes, nowMs);
  }

  report(phase: MirrorPhase): MirrorProgress {
    const engine = this.#engine;
    const copyRate = this.#copyRate.perSecond;
    const dirtyRate = this.#dirtyRate.perSecond;
    return {
      phase,
      bytesCopied: engine.bytesCopied,
      bytesRecopied: engine.bytesRecopied,
      bytesZeroed: engine.bytesZeroed,
      bytesMirrored: engine.bytesMirrored,
      bytesSkipped: (this.#scanSkipped ?? 0) + engine.bytesSkipped,
      dirtyBytes: this.#dirty.dirtyBytes,
      inFlightBytes: engine.inFlight.bytes,
      inFlightOperations: engine.inFlight.operations,
      maxInFlightOperations: MAX_OPERATIONS,
      copyRateBytesPerSec: copyRate,
      dirtyRateBytesPerSec: dirtyRate,
      etaSec: this.etaSec,
      unansweredMs: this.#silence.ms,
      unansweredBy: sideOf(this.#silence.side),
    };
  }
}

function sideOf(asked: FailedSide | undefined): MirrorProgress["unansweredBy"] {
  if (asked === undefined) return undefined;
  return asked === "read" ? "source" : "target";
}
