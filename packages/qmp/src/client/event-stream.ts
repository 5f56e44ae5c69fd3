/** Waits for the next item. */
interface Waiter<Item> {
  readonly resolve: (result: IteratorResult<Item, undefined>) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * A queue that its producer fills and one consumer iterates. Nothing is lost between two turns of the loop; leaving the
 * loop ends the queue.
 */
export class EventStream<Item> implements AsyncIterableIterator<Item, undefined> {
  readonly #onEnd: () => void;
  readonly #items: Item[] = [];
  #waiter: Waiter<Item> | undefined;
  #ended: { readonly error?: Error } | undefined;

  /** @param onEnd called once when it ends, whoever ends it. */
  constructor(onEnd: () => void) {
    this.#onEnd = onEnd;
  }

  push(item: Item): void {
    if (this.#ended !== undefined) return;
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (waiter === undefined) this.#items.push(item);
    else waiter.resolve({ value: item, done: false });
  }

  /** What was pushed before is still delivered. @param error what the loop throws then; without it the loop ends. */
  end(error?: Error): void {
    if (this.#ended !== undefined) return;
    this.#ended = error === undefined ? {} : { error };
    this.#onEnd();
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (waiter === undefined) return;
    if (error === undefined) {
      waiter.resolve({ value: undefined, done: true });
    } else {
      this.#ended = {}; // told once
      waiter.reject(error);
    }
  }

  /** @throws TypeError when another call is still waiting. */
  async next(): Promise<IteratorResult<Item, undefined>> {
    const item = this.#items.shift();
    if (item !== undefined) return { value: item, done: false };
    if (this.#ended !== undefined) {
      const { error } = this.#ended;
      this.#ended = {}; // told once
      if (error !== undefined) throw error;
      return { value: undefined, done: true };
    }
    if (this.#waiter !== undefined)
      throw new TypeError("Only one consumer may wait for events of one iterator");
    return new Promise((resolve, reject) => (this.#waiter = { resolve, reject }));
  }

  async return(): Promise<IteratorResult<Item, undefined>> {
    this.#items.length = 0;
    this.end();
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
