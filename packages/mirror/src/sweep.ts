import { HBitmap, type DirtyArea } from "@blockmirror/hbitmap";
import type { DirtyBitmap } from "@blockmirror/block-driver";
import type { InFlightSet } from "./in-flight-set.ts";

/**
 * The ascending walk over the dirty chunks (mirror rules S12.1 to S12.4). It looks at the live bitmap, so a chunk that was
 * cleared meanwhile is never returned; a chunk that is dirtied behind the cursor waits for the next sweep, so that a hot
 * chunk does not hold up the rest. Chunks in flight are passed over (rule S8.3).
 *
 * A chunk that was copied in the last sweep and is dirty again is hot: it will be dirtied once more before long. Each sweep
 * passes over those first and takes them when all others are done, so that fewer of them are dirty again when it ends.
 */
export class Sweep {
  readonly #dirty: DirtyBitmap;
  readonly #inFlight: InFlightSet;
  readonly #size: number;
  readonly #area: DirtyArea = { start: 0, length: 0 };
  /** What this sweep has copied, and what the last one had. */
  #copied: HBitmap;
  #copiedBefore: HBitmap;
  /** The hot chunks are still passed over. */
  #postpones = false;
  #cursor = 0;
  #sweeps = 0;

  constructor(dirty: DirtyBitmap, inFlight: InFlightSet, size: number) {
    const { granularity } = dirty.bits;
    this.#dirty = dirty;
    this.#inFlight = inFlight;
    this.#size = size;
    this.#copied = new HBitmap({ size, granularity });
    this.#copiedBefore = new HBitmap({ size, granularity });
  }

  /** How often the walk has restarted at offset 0. */
  get sweeps(): number {
    return this.#sweeps;
  }

  /**
   * The next dirty bytes that are not in flight, at most `maxLength`, into `into`: chunk-aligned, cut at the end of the
   * image (mirror rules S13.1 and S13.3). False when every dirty chunk is in flight, or none is dirty. Does not move the
   * walk: {@link advance} does, once the run is claimed.
   */
  next(maxLength: number, into: DirtyArea): boolean {
    if (this.#findOrTakeHot(maxLength, into)) return true;
    // Nothing is postponed any more, so what is found now is behind the walk. A sweep begins only if there is something for it.
    if (!this.#find(0, maxLength, into)) return false;
    this.#restart();
    return this.#findOrTakeHot(maxLength, into);
  }

  /** Goes on behind a run that was claimed. */
  advance(offset: number, length: number): void {
    this.#cursor = offset + length;
    this.#copied.set(offset, length);
  }

  #restart(): void {
    const before = this.#copiedBefore;
    this.#copiedBefore = this.#copied;
    this.#copied = before;
    if (!before.isEmpty) before.reset(0, this.#size);
    this.#postpones = !this.#copiedBefore.isEmpty;
    this.#cursor = 0;
    this.#sweeps += 1;
  }

  #findOrTakeHot(maxLength: number, into: DirtyArea): boolean {
    if (this.#find(this.#cursor, maxLength, into)) return true;
    if (!this.#postpones) return false;
    this.#postpones = false;
    this.#cursor = 0;
    return this.#find(0, maxLength, into);
  }

  #find(from: number, maxLength: number, into: DirtyArea): boolean {
    let cursor = from;
    while (cursor < this.#size) {
      const area = this.#dirty.bits.nextDirtyArea(cursor, this.#size, maxLength, this.#area);
      if (area === undefined) return false;
      const { start } = area;
      const free = this.#inFlight.freeRun(start, area.length);
      const cold = free > 0 ? this.#coldRun(start, free) : 0;
      if (cold > 0) {
        into.start = start;
        into.length = cold;
        return true;
      }
      cursor = free > 0 ? this.#nextCold(start) : this.#inFlight.nextFree(start);
    }
    return false;
  }

  /** How many bytes from `offset` on, at most `length`, are not to be passed over. */
  #coldRun(offset: number, length: number): number {
    if (!this.#postpones) return length;
    const hot = this.#copiedBefore.nextDirty(offset, length);
    return hot < 0 ? length : hot - offset;
  }

  #nextCold(offset: number): number {
    const cold = this.#copiedBefore.nextZero(offset);
    return cold < 0 ? this.#size : cold;
  }
}
