/** Smallest piece that is kept, and the bytes kept in all: what a few large reads need at once. */
const SMALLEST = 64 * 1024;
const KEPT_BYTES = 8 * 1024 * 1024;

/**
 * Memory that is used for a moment, over and over: it has sizes of powers of two, and is kept for the next user. Memory
 * made anew has to be cleared by the system and found again by the garbage collector, which costs more than what is read
 * into it.
 */
export class ScratchMemory {
  readonly #kept = new Map<number, Buffer[]>();
  #keptBytes = 0;

  /** `length` bytes of any content, and memory of the next larger size for {@link give}. */
  take(length: number): Buffer {
    const size = sizeFor(length);
    const kept = this.#kept.get(size)?.pop();
    if (kept === undefined) return Buffer.allocUnsafeSlow(size);
    this.#keptBytes -= size;
    return kept;
  }

  /** Takes back what {@link take} gave, which nobody uses any more. */
  give(memory: Buffer): void {
    const size = memory.length;
    if (this.#keptBytes + size > KEPT_BYTES) return;
    this.#keptBytes += size;
    const same = this.#kept.get(size);
    if (same === undefined) this.#kept.set(size, [memory]);
    else same.push(memory);
  }
}

function sizeFor(length: number): number {
  return Math.max(SMALLEST, 2 ** Math.ceil(Math.log2(length)));
}
