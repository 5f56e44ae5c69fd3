/**
 * Says when nobody can be reading or writing a host cluster any more that guests cannot reach any longer. A request that
 * goes straight to mapped host clusters runs inside an epoch; a freed cluster is handed out again only after every
 * request that may still have its old address has ended (qcow2 specification, "Cluster mapping": a mapping is only valid
 * while nobody changes it).
 *
 * Nothing is allocated per request: an epoch is a number, and requests of one epoch share a counter.
 */
export class ReadEpochs {
  /** Requests running in each epoch, from `#oldest` on. */
  readonly #running: number[] = [0];
  #oldest = 0;
  readonly #waiting: { readonly epoch: number; readonly resolve: () => void }[] = [];

  /**
   * Begins a request: call it before (or in the same turn as) looking its range up, and {@link end} with what it returned
   * once the data has been transferred, whether or not that succeeded.
   */
  begin(): number {
    const last = this.#running.length - 1;
    this.#running[last] = (this.#running[last] ?? 0) + 1;
    return this.#oldest + last;
  }

  /** Ends a request begun in `epoch`. */
  end(epoch: number): void {
    const index = epoch - this.#oldest;
    const left = (this.#running[index] ?? 0) - 1;
    if (left < 0) throw new RangeError(`ReadEpochs: nothing runs in epoch ${epoch}`);
    this.#running[index] = left;
    if (left === 0 && index === 0) this.#retire();
  }

  /** Requests that have begun and not ended. */
  get running(): number {
    return this.#running.reduce((sum, count) => sum + count, 0);
  }

  /**
   * Starts a new epoch. Undefined when no request of an earlier one is running, else a promise of the moment when the
   * last of them has ended; requests that begin from now on do not hold it up.
   */
  passed(): Promise<void> | undefined {
    const epoch = this.#oldest + this.#running.length - 1;
    this.#running.push(0);
    this.#retire();
    if (this.#oldest > epoch) return undefined;
    return new Promise((resolve) => {
      this.#waiting.push({ epoch, resolve });
    });
  }

  #retire(): void {
    while (this.#running.length > 1 && this.#running[0] === 0) {
      this.#running.shift();
      this.#oldest += 1;
    }
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      if (first.epoch >= this.#oldest) return;
      this.#waiting.shift();
      first.resolve();
    }
  }
}
