import { HBitmap } from "@blockmirror/hbitmap";

/**
 * The chunks that running operations have claimed. No chunk is claimed twice (mirror rule S8.3), and an operation releases
 * exactly the chunks it claimed, the short tail chunk included (rule S8.2).
 */
export class InFlightSet {
  readonly #bits: HBitmap;
  readonly #size: number;
  #operations = 0;
  #bytes = 0;

  constructor(size: number, granularity: number) {
    this.#size = size;
    this.#bits = new HBitmap({ size, granularity });
  }

  /** Operations that run. */
  get operations(): number {
    return this.#operations;
  }

  /** Bytes that running operations have claimed. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Claims `[offset, offset + length)`: chunk-aligned, or ending at the end of the image. */
  claim(offset: number, length: number): void {
    this.#bits.set(offset, length);
    this.#operations += 1;
    this.#bytes += length;
  }

  /** Releases a claim. */
  release(offset: number, length: number): void {
    this.#bits.reset(offset, length);
    this.#operations -= 1;
    this.#bytes -= length;
  }

  /** How many bytes from `offset` on, at most `length`, nobody has claimed. */
  freeRun(offset: number, length: number): number {
    const claimed = this.#bits.nextDirty(offset, length);
    return claimed < 0 ? length : claimed - offset;
  }

  /** The first unclaimed byte at or after `offset`; the end of the image if there is none. */
  nextFree(offset: number): number {
    const free = this.#bits.nextZero(offset);
    return free < 0 ? this.#size : free;
  }

  /** Claimed bytes inside a range, for a map of the disk. */
  bytesIn(offset: number, length: number): number {
    return this.#bits.countRange(offset, length);
  }
}
