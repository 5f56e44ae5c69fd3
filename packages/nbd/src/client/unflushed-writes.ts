/**
 * Counts what the server has answered but need not have made durable yet. A server that dies takes it along, and the one
 * that is started in its place knows nothing of it: a flush there would succeed and mean nothing.
 */
export class UnflushedWrites {
  #written = 0;
  #flushed = 0;

  /** A write without FUA was answered. */
  add(): void {
    this.#written += 1;
  }

  /** What a flush that starts now will cover. */
  get mark(): number {
    return this.#written;
  }

  /** A flush that started at `mark` succeeded. */
  flushed(mark: number): void {
    this.#flushed = Math.max(this.#flushed, mark);
  }

  /** Number of answered writes that no flush has covered. */
  get count(): number {
    return this.#written - this.#flushed;
  }
}
