import { Backoff } from "./backoff.ts";
import type { Connection } from "./connection.ts";
import type { Dialer } from "./dialer.ts";
import type { NbdTimers } from "./timers.ts";

/** What makes a {@link Growth}. */
export interface GrowthInit {
  readonly dialer: Dialer;
  readonly timers: NbdTimers;
  readonly openMs: number;
  /** Takes the new connection; false when the server's connections turn out to be of no use. */
  readonly admit: (connection: Connection) => boolean;
}

/**
 * Opens further connections while the ones there are busy, one at a time. They only make things faster: a server that
 * refuses them, or leaves them waiting because its places are taken, is asked less and less often.
 */
export class Growth {
  readonly #init: GrowthInit;
  readonly #backoff = new Backoff();
  #isDialing = false;
  #isUseless = false;
  #notBefore = 0;

  constructor(init: GrowthInit) {
    this.#init = init;
  }

  /** Opens one more connection if `most` allows it and all of `connections` are busy. */
  consider(connections: readonly Connection[], most: number): void {
    if (this.#isDialing || this.#isUseless || connections.length === 0 || connections.length >= most) return;
    if (connections.some((connection) => connection.inFlight < 2)) return;
    if (this.#init.timers.now() < this.#notBefore) return;
    this.#isDialing = true;
    void this.#dial();
  }

  async #dial(): Promise<void> {
    const { dialer, timers, openMs, admit } = this.#init;
    try {
      const connection = await dialer.dial(openMs);
      this.#isDialing = false;
      this.#backoff.reset();
      this.#isUseless = !admit(connection);
    } catch {
      // Whatever is wrong with the server, the connections there are will say.
      this.#isDialing = false;
      this.#backoff.nextMs();
      this.#notBefore = timers.now() + Math.max(1000, this.#backoff.nextMs());
    }
  }
}
