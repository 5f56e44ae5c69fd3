import { Connection, type ConnectionOwner, type Endpoint } from "./connection.ts";
import { LateError } from "./failures.ts";
import type { NbdTimers } from "./timers.ts";

/** Opens connections, one attempt at a time each, within a time. */
export class Dialer {
  readonly #endpoint: Endpoint;
  readonly #owner: ConnectionOwner;
  readonly #timers: NbdTimers;
  readonly #attempts = new Set<AbortController>();

  constructor(endpoint: Endpoint, owner: ConnectionOwner, timers: NbdTimers) {
    this.#endpoint = endpoint;
    this.#owner = owner;
    this.#timers = timers;
  }

  /**
   * Connects and shakes hands.
   * @throws LateError after `limitMs`; otherwise as {@link Connection.open}.
   */
  async dial(limitMs: number, signal?: AbortSignal): Promise<Connection> {
    const attempt = new AbortController();
    const abort = (): void => attempt.abort(signal?.reason);
    if (signal?.aborted === true) abort();
    signal?.addEventListener("abort", abort, { once: true });
    this.#attempts.add(attempt);
    const callOff = this.#timers.after(limitMs, () =>
      attempt.abort(new LateError(`the server did not finish the handshake within ${limitMs} ms`)),
    );
    try {
      return await Connection.open(this.#endpoint, this.#owner, attempt.signal);
    } finally {
      callOff();
      this.#attempts.delete(attempt);
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Ends every attempt that is under way. */
  abort(reason: Error): void {
    for (const attempt of this.#attempts) attempt.abort(reason);
  }
}
