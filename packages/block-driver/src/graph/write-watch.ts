/** How far a node has been written to, and who wants to know when that is far enough. */
export class WriteWatch {
  #highestEnd = 0;
  #threshold = 0;
  #onExceeded: (amount: number) => void = () => undefined;

  /** Where the highest write since the node was opened ends, in bytes; 0 = there was none. Discards are no writes. */
  get highestEnd(): number {
    return this.#highestEnd;
  }

  /** Writes that end beyond this byte are told of; 0 = none is. */
  get threshold(): number {
    return this.#threshold;
  }

  /**
   * Tells once of a write that ends beyond `threshold`, by how many bytes it does, when it begins. 0 ends the watch.
   * @throws RangeError for a threshold that is no offset.
   */
  watch(threshold: number, onExceeded: (amount: number) => void): void {
    if (!Number.isSafeInteger(threshold) || threshold < 0) {
      throw new RangeError(`a write threshold is an offset in bytes, not ${threshold}`);
    }
    this.#threshold = threshold;
    this.#onExceeded = onExceeded;
  }

  /** The node's part: a write that ends at `end` begins. */
  note(end: number): void {
    if (end > this.#highestEnd) this.#highestEnd = end;
    const amount = end - this.#threshold;
    if (this.#threshold === 0 || amount <= 0) return;
    this.#threshold = 0;
    this.#onExceeded(amount);
  }
}
