/**
 * Calls in flight at a time. The binding keeps what eight calls need (its `resident_async_pools`); for each further one it
 * maps memory and unmaps it again, which takes as long as decoding does.
 */
const MAX_CONTEXTS = 8;

/** Lends contexts of a C library, of which each serves one call at a time. They are made when needed and kept. */
export class ContextPool<Context> {
  readonly #make: () => Context;
  readonly #free: Context[] = [];
  readonly #waiting: ((context: Context) => void)[] = [];
  #made = 0;

  constructor(make: () => Context) {
    this.#make = make;
  }

  /** Works with a context that nobody else uses meanwhile. */
  async use<Result>(work: (context: Context) => Promise<Result>): Promise<Result> {
    const context = await this.#borrow();
    try {
      return await work(context);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free.push(context);
      else next(context);
    }
  }

  #borrow(): Context | Promise<Context> {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#made >= MAX_CONTEXTS) return new Promise((resolve) => this.#waiting.push(resolve));
    const context = this.#make();
    this.#made += 1;
    return context;
  }
}
