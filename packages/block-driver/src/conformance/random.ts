/** Numbers that a seed decides, so that every failure can be repeated. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** An integer from 0 to `bound - 1`. */
  below(bound: number): number {
    // A Weyl sequence, hashed: short, and good enough to choose operations with.
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x45d9f3b);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x2c1b3c6d);
    mixed = (mixed ^ (mixed >>> 16)) >>> 0;
    return Math.floor((mixed / 2 ** 32) * bound);
  }

  /** One of the list, which must not be empty. */
  pick<T>(list: readonly T[]): T {
    const chosen = list[this.below(list.length)];
    if (chosen === undefined) throw new RangeError("Random.pick: the list is empty");
    return chosen;
  }

  /** `length` bytes, none of them zero, so that data is never taken for a hole. */
  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    for (let index = 0; index < length; index += 1) bytes[index] = 1 + this.below(255);
    return bytes;
  }

  /** Cuts a buffer into 1 to 6 pieces, some of them empty. */
  pieces(buffer: Uint8Array): readonly Uint8Array[] {
    const cuts = Array.from({ length: this.below(6) }, () => this.below(buffer.byteLength + 1));
    const ends = [...cuts.sort((a, b) => a - b), buffer.byteLength];
    let start = 0;
    return ends.map((end) => {
      const piece = buffer.subarray(start, end);
      start = end;
      return piece;
    });
  }
}
