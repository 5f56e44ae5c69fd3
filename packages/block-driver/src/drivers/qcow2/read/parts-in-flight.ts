import type { MaybePromise } from "../../../contract/io.ts";
import { isPromise } from "../../../contract/io.ts";

/** Parts of one request that are on their way at the same time. */
const MOST_PARTS = 16;

/** The parts of one request: started one by one, waited for together, failing with the first failure. */
export class PartsInFlight {
  readonly #running = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  /** Adds a part; one that has ended already is none. */
  add(part: MaybePromise<void>): void {
    if (!isPromise(part)) return;
    const ended: Promise<void> = part
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#running.delete(ended));
    this.#running.add(ended);
  }

  /** One of them has failed: nothing more need be started. */
  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  get isFull(): boolean {
    return this.#running.size >= MOST_PARTS;
  }

  /** Resolves when one of them has ended. */
  async room(): Promise<void> {
    await Promise.race(this.#running);
  }

  /** Resolves when all have ended, whether or not they failed. */
  async settled(): Promise<void> {
    await Promise.all(this.#running);
  }

  /** Throws what the first that failed failed with. */
  throwFirstFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
