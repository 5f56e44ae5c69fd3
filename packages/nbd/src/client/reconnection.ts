import { Backoff } from "./backoff.ts";
import type { Connection } from "./connection.ts";
import type { Dialer } from "./dialer.ts";
import type { NbdTimers } from "./timers.ts";

/** What makes a {@link Reconnection}. */
export interface ReconnectionInit {
  readonly dialer: Dialer;
  readonly timers: NbdTimers;
  readonly patience: { readonly openMs: number; readonly reconnectMs: number };
  readonly admit: (connection: Connection) => void;
  /** The deadline has passed; the next {@link Reconnection.start} begins anew. */
  readonly giveUp: (error: Error) => void;
}

/** Brings a session back that has lost its last connection: attempts with growing pauses, until a deadline. */
export class Reconnection {
  readonly #init: ReconnectionInit;
  /** Ends the round that is under way. */
  #round: AbortController | undefined;

  constructor(init: ReconnectionInit) {
    this.#init = init;
  }

  /** Begins a round of attempts, unless one is under way. */
  start(): void {
    if (this.#round !== undefined) return;
    this.#round = new AbortController();
    void this.#run(this.#round.signal);
  }

  stop(): void {
    this.#round?.abort(new Error("the device is closed"));
    this.#round = undefined;
  }

  async #run(stopped: AbortSignal): Promise<void> {
    const { dialer, timers, patience, admit, giveUp } = this.#init;
    const deadline = timers.now() + patience.reconnectMs;
    const backoff = new Backoff();
    let failure = new Error("no attempt was made");
    for (;;) {
      const waitMs = backoff.nextMs();
      const leftMs = deadline - timers.now() - waitMs;
      // The first attempt is always made: without patience, too, a request finds out whether the server is back.
      if (waitMs > 0 && leftMs <= 0) break;
      await this.#sleep(waitMs, stopped);
      if (stopped.aborted) return;
      try {
        const limitMs = patience.reconnectMs === 0 ? patience.openMs : Math.min(patience.openMs, leftMs);
        const connection = await dialer.dial(limitMs, stopped);
        if (stopped.aborted) {
          connection.abandon(new Error("the device is closed"));
          return;
        }
        this.#round = undefined;
        admit(connection);
        return;
      } catch (error) {
        if (stopped.aborted) return;
        failure = error instanceof Error ? error : new Error(String(error));
      }
    }
    this.#round = undefined;
    giveUp(failure);
  }

  #sleep(ms: number, stopped: AbortSignal): Promise<void> {
    if (ms === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const callOff = this.#init.timers.after(ms, () => {
        stopped.removeEventListener("abort", end);
        resolve();
      });
      const end = (): void => {
        callOff();
        resolve();
      };
      stopped.addEventListener("abort", end, { once: true });
    });
  }
}
