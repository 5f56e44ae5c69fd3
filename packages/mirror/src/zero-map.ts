import { HBitmap } from "@blockmirror/hbitmap";

/**
 * Which chunks of the target are known to read as zeroes: a zero extent of the source needs no work there. The rules are
 * those of QEMU's zero bitmap: a copy clears the chunks it touches when it *starts*, a zero operation sets those it covers
 * in full when it has *succeeded*. Ranges that cover no full chunk set nothing.
 *
 * A map of everything marks what is not known, and one of nothing marks what is: the usual disk and the fresh target are
 * then a bitmap that is hardly touched, however large they are.
 */
export class ZeroMap {
  readonly #marked: HBitmap;
  #marksKnown = true;
  readonly #size: number;
  readonly #granularity: number;

  constructor(size: number, granularity: number) {
    this.#size = size;
    this.#granularity = granularity;
    this.#marked = new HBitmap({ size, granularity });
  }

  /** Records that the range reads as zeroes: the chunks it covers in full. */
  learn(offset: number, length: number): void {
    const start = Math.ceil(offset / this.#granularity) * this.#granularity;
    const end = offset + length;
    const inner = end >= this.#size ? this.#size : Math.floor(end / this.#granularity) * this.#granularity;
    if (inner <= start) return;
    if (start === 0 && inner === this.#size) {
      this.#marked.resetAll();
      this.#marksKnown = false;
    } else {
      this.#set(start, inner - start, true);
    }
  }

  /** Forgets every chunk that the range touches. */
  forget(offset: number, length: number): void {
    if (length === 0) return;
    const start = Math.floor(offset / this.#granularity) * this.#granularity;
    const end = Math.min(this.#size, Math.ceil((offset + length) / this.#granularity) * this.#granularity);
    this.#set(start, end - start, false);
  }

  /** Whether every chunk that the range touches is known to be zero. */
  covers(offset: number, length: number): boolean {
    return this.nextUnknown(offset, offset + length) < 0;
  }

  /** The first byte at or after `offset`, below `end`, that is not known to be zero; -1 if there is none. */
  nextUnknown(offset: number, end: number): number {
    return this.#next(offset, end, !this.#marksKnown);
  }

  /** The first byte at or after `offset`, below `end`, that is known to be zero; -1 if there is none. */
  nextKnown(offset: number, end: number): number {
    return this.#next(offset, end, this.#marksKnown);
  }

  #set(offset: number, length: number, known: boolean): void {
    if (known === this.#marksKnown) this.#marked.set(offset, length);
    // Clearing what is clear would touch memory for nothing.
    else if (this.#marked.nextDirty(offset, length) >= 0) this.#marked.reset(offset, length);
  }

  #next(offset: number, end: number, marked: boolean): number {
    return marked
      ? this.#marked.nextDirty(offset, end - offset)
      : this.#marked.nextZero(offset, end - offset);
  }
}
