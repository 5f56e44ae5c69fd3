import { TransactionCore } from "./transaction-core.ts";

/**
 * Jobs that take effect together or not at all. Give the same transaction to several jobs when creating them: they wait
 * for each other, are finalized together, and when one fails or is force-cancelled the others are force-cancelled. A job
 * without one gets one for itself.
 */
export class JobTransaction {
  readonly #core: TransactionCore = new TransactionCore();

  /** Number of jobs in it; discarded ones have left. */
  get size(): number {
    return this.#core.size;
  }

  /** @internal What the manager works with. */
  static coreOf(transaction: JobTransaction): TransactionCore {
    return transaction.#core;
  }
}
