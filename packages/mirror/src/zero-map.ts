import { HBitmap } from "@blockmirror/hbitmap";

/**
 * Which chunks of the target are known to read as zeroes: a zero extent of the source needs no work there. The rules are
 * those of QEMU's zero bitmap: a copy clears the chunks it touches when it *starts*, a zero operation sets those it covers
 * in full when it has *succeeded*. Ranges that cover no full chunk set nothing.
 */
export class ZeroMap {
  readonly #bits: HBitmap;
  readonly #size: number;
  readonly #granularity: number;

  constructor(size: number, granularity: number) {
    this.#size = size;
    this.#granularity = granularity;
    this.#bits = new HBitmap({ size, granularity });
  }

  /** Records that the range reads as zeroes: the chunks it covers in full. */
  learn(offset: number, length: number): void {
    const start = Math.ceil(offset / this.#granularity) * this.#granularity;
    const end = offset + length;
    const inner = end >= this.#size ? this.#size : Math.floor(end / this.#granularity) * this.#granularity;
    if (inner > start) this.#bits.set(start, inner - start);
  }

  /** Forgets every chunk that the range touches. */
  forget(offset: number, length: number): void {
    if (length === 0) return;
    const start = Math.floor(offset / this.#granularity) * this.#granularity;
    const end = Math.min(this.#size, Math.ceil((offset + length) / this.#granularity) * this.#granularity);
    this.#bits.reset(start, end - start);
  }

  /** Whether every chunk that the range touches is known to be zero. */
  covers(offset: number, length: number): boolean {
    return this.#bits.nextZero(offset, length) < 0;
  }

  /** The first byte at or after `offset`, below `end`, that is not known to be zero; -1 if there is none. */
  nextUnknown(offset: number, end: number): number {
    return this.#bits.nextZero(offset, end - offset);
  }

  /** The first byte at or after `offset`, below `end`, that is known to be zero; -1 if there is none. */
  nextKnown(offset: number, end: number): number {
    return this.#bits.nextDirty(offset, end - offset);
  }
}
