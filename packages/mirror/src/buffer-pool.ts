import { BlockError, reserveAligned, type IoVec } from "@blockmirror/block-driver";

/**
 * The job's one buffer, cut into pieces of one chunk (mirror rules S6.1 to S6.5). An operation takes a piece per chunk and
 * gives all of them back; nothing else is allocated per chunk. Pieces that are neighbours in memory are handed out as one,
 * so a long run is usually a vector of one or two.
 *
 * What was given back last is taken first: it is in the processor's caches, and memory that a job does not need is never
 * touched. (The rule's list is first in, first out.) The buffer is reserved with the pool and made for the first vector: jobs
 * whose copies are made below this process need none.
 */
export class BufferPool {
  readonly pieceSize: number;
  readonly pieceCount: number;
  readonly #slab: () => Buffer;
  /** Stack of free piece numbers; the next one to be taken is the last. */
  readonly #stack: Uint32Array;
  #free: number;

  /**
   * `size` is rounded up to whole pieces (mirror rule S6.2).
   * @throws BlockError `EINVAL` when there is not that much memory, naming the size to lower (mirror rule S6.3).
   */
  constructor(size: number, pieceSize: number) {
    this.pieceSize = pieceSize;
    this.pieceCount = Math.ceil(size / pieceSize);
    try {
      this.#slab = reserveAligned(this.pieceCount * pieceSize);
    } catch (error) {
      throw new BlockError(
        "EINVAL",
        `cannot allocate a mirror buffer of ${this.pieceCount * pieceSize} bytes; ask for a smaller buffer`,
        { operation: "mirror", cause: error },
      );
    }
    this.#stack = Uint32Array.from({ length: this.pieceCount }, (_, index) => this.pieceCount - 1 - index);
    this.#free = this.pieceCount;
  }

  /** Pieces that nobody holds. */
  get free(): number {
    return this.#free;
  }

  /** Takes pieces for `length` bytes; their numbers go into `loan`. The caller has checked `free`. */
  take(length: number, loan: Loan): void {
    const count = Math.ceil(length / this.pieceSize);
    if (count > this.#free) throw new RangeError(`${count} buffer pieces asked for, ${this.#free} are free`);
    loan.reset(count);
    for (let taken = 1; taken <= count; taken += 1) loan.add(this.#stack[this.#free - taken] ?? 0);
    this.#free -= count;
  }

  /**
   * The pieces of a loan as a vector of exactly `length` bytes, which they were taken for (mirror rule S13.3).
   * @throws BlockError `EINVAL` when the memory that was reserved is not to be had any more.
   */
  vector(length: number, loan: Loan): IoVec {
    const slab = this.#memory();
    const { pieceSize } = this;
    const vector: Uint8Array[] = [];
    let start = loan.pieceAt(0);
    let end = start;
    for (let index = 0; index < loan.count; index += 1) {
      const piece = loan.pieceAt(index);
      if (piece !== end) {
        vector.push(slab.subarray(start * pieceSize, end * pieceSize));
        start = piece;
      }
      end = piece + 1;
    }
    const surplus = loan.count * pieceSize - length;
    vector.push(slab.subarray(start * pieceSize, end * pieceSize - surplus));
    return vector;
  }

  #memory(): Buffer {
    try {
      return this.#slab();
    } catch (error) {
      throw new BlockError(
        "EINVAL",
        `there is no memory left for a mirror buffer of ${this.pieceCount * this.pieceSize} bytes; ask for a smaller buffer`,
        { operation: "mirror", cause: error },
      );
    }
  }

  /** Gives back everything a loan holds. */
  giveBack(loan: Loan): void {
    // The last piece first, so that neighbours are taken as neighbours again.
    for (let index = loan.count - 1; index >= 0; index -= 1) {
      this.#stack[this.#free] = loan.pieceAt(index);
      this.#free += 1;
    }
    loan.reset(0);
  }
}

/** The pieces one operation holds; reused by the operations that run one after the other in the same slot. */
export class Loan {
  #pieces: Uint32Array;
  #count = 0;

  constructor() {
    this.#pieces = new Uint32Array(16);
  }

  get count(): number {
    return this.#count;
  }

  /** Empties the loan and makes room for `capacity` pieces. */
  reset(capacity: number): void {
    this.#count = 0;
    if (capacity > this.#pieces.length) this.#pieces = new Uint32Array(capacity);
  }

  add(piece: number): void {
    this.#pieces[this.#count] = piece;
    this.#count += 1;
  }

  pieceAt(index: number): number {
    return this.#pieces[index] ?? 0;
  }
}
