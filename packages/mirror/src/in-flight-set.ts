import { HBitmap } from "@blockmirror/hbitmap";

/** Chunks that a guest's write has for itself, or waits for. */
export interface GuestTurn {
  readonly offset: number;
  readonly length: number;
}

/**
 * The chunks that running operations have claimed. No chunk is claimed twice (mirror rule S8.3), and an operation releases
 * exactly the chunks it claimed, the short tail chunk included (rule S8.2).
 *
 * Guests whose writes go to both sides take part: from the moment one arrives no operation claims its chunks any more, so
 * what it waits for ends by itself.
 */
export class InFlightSet {
  /** Claimed by operations. */
  readonly #bits: HBitmap;
  /** The same, and what guests have or wait for. */
  readonly #blocked: HBitmap;
  readonly #turns = new Set<GuestTurn>();
  readonly #size: number;
  #operations = 0;
  #bytes = 0;

  constructor(size: number, granularity: number) {
    this.#size = size;
    this.#bits = new HBitmap({ size, granularity });
    this.#blocked = new HBitmap({ size, granularity });
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
    this.#blocked.set(offset, length);
    this.#operations += 1;
    this.#bytes += length;
  }

  /** Releases a claim. */
  release(offset: number, length: number): void {
    this.#bits.reset(offset, length);
    this.#unblock(offset, length);
    this.#operations -= 1;
    this.#bytes -= length;
  }

  /** A guest's write arrives: no operation claims `[offset, offset + length)` from now on. Whole chunks. */
  enterGuest(offset: number, length: number): GuestTurn {
    const turn: GuestTurn = { offset, length };
    this.#turns.add(turn);
    this.#blocked.set(offset, length);
    return turn;
  }

  /** The guest's write has ended on both sides. */
  leaveGuest(turn: GuestTurn): void {
    this.#turns.delete(turn);
    this.#unblock(turn.offset, turn.length);
  }

  /** Whether an operation is copying a part of the range. */
  isCopying(offset: number, length: number): boolean {
    return this.#bits.nextDirty(offset, length) >= 0;
  }

  /** How many bytes from `offset` on, at most `length`, nobody has claimed. */
  freeRun(offset: number, length: number): number {
    const claimed = this.#blocked.nextDirty(offset, length);
    return claimed < 0 ? length : claimed - offset;
  }

  /** The first unclaimed byte at or after `offset`; the end of the image if there is none. */
  nextFree(offset: number): number {
    const free = this.#blocked.nextZero(offset);
    return free < 0 ? this.#size : free;
  }

  /** Claimed bytes inside a range, for a map of the disk. */
  bytesIn(offset: number, length: number): number {
    return this.#bits.countRange(offset, length);
  }

  /** Takes the range out of what is blocked, except for what somebody else has or waits for. */
  #unblock(offset: number, length: number): void {
    this.#blocked.reset(offset, length);
    const end = offset + length;
    for (const turn of this.#turns) {
      const from = Math.max(offset, turn.offset);
      const to = Math.min(end, turn.offset + turn.length);
      if (from < to) this.#blocked.set(from, to - from);
    }
  }
}
