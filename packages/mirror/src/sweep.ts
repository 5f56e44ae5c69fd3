import type { DirtyArea } from "@blockmirror/hbitmap";
import type { DirtyBitmap } from "@blockmirror/block-driver";
import type { InFlightSet } from "./in-flight-set.ts";

/**
 * The ascending walk over the dirty chunks (mirror rules S12.1 to S12.4). It looks at the live bitmap, so a chunk that was
 * cleared meanwhile is never returned; a chunk that is dirtied behind the cursor waits for the next sweep, so that a hot
 * chunk does not hold up the rest. Chunks in flight are passed over (rule S8.3).
 */
export class Sweep {
  readonly #dirty: DirtyBitmap;
  readonly #inFlight: InFlightSet;
  readonly #size: number;
  readonly #area: DirtyArea = { start: 0, length: 0 };
  #cursor = 0;
  #sweeps = 0;

  constructor(dirty: DirtyBitmap, inFlight: InFlightSet, size: number) {
    this.#dirty = dirty;
    this.#inFlight = inFlight;
    this.#size = size;
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
    return this.#find(this.#cursor, this.#size, maxLength, into) || this.#restart(maxLength, into);
  }

  /** Goes on behind a run that was claimed. */
  advance(offset: number, length: number): void {
    this.#cursor = offset + length;
  }

  #restart(maxLength: number, into: DirtyArea): boolean {
    if (!this.#find(0, this.#cursor, maxLength, into)) return false;
    this.#sweeps += 1;
    return true;
  }

  #find(from: number, end: number, maxLength: number, into: DirtyArea): boolean {
    let cursor = from;
    while (cursor < end) {
      const area = this.#dirty.bits.nextDirtyArea(cursor, end, maxLength, this.#area);
      if (area === undefined) return false;
      const free = this.#inFlight.freeRun(area.start, area.length);
      if (free > 0) {
        into.start = area.start;
        into.length = free;
        return true;
      }
      cursor = this.#inFlight.nextFree(area.start);
    }
    return false;
  }
}
