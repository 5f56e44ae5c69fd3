/** How far a job is. Holds `0 <= offset <= length`, both safe integers. */
export class Progress {
  #offset = 0;
  #length = 0;

  get offset(): number {
    return this.#offset;
  }

  get length(): number {
    return this.#length;
  }

  /** @throws RangeError when the invariant would break; nothing changes then. */
  set(offset: number, length: number): void {
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || offset > length) {
      throw new RangeError(
        `progress must hold 0 <= offset <= length in whole bytes: got ${offset} of ${length}`,
      );
    }
    this.#offset = offset;
    this.#length = length;
  }
}
