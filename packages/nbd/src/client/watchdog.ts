import type { Connection } from "./connection.ts";
import { LateError } from "./failures.ts";
import type { NbdTimers } from "./timers.ts";

/** However much else moves, a request is late after this many times its limit. */
const LIMITS_WITH_PROGRESS = 10;
const MOST_TICK_MS = 1000;
/** A tick that comes so much too late tells that this process was asleep, and not the servers. */
const OVERSLEPT_MS = 1000;

/** How long answers may take, in milliseconds. */
export interface WatchdogLimits {
  readonly requestMs: number;
  readonly flushMs: number;
}

/**
 * Ends connections whose server hangs. A request is late when no byte has moved on its connection for the limit, so a slow
 * link with much in flight is not mistaken for a dead one.
 */
export class Watchdog {
  readonly #timers: NbdTimers;
  readonly #limits: WatchdogLimits;
  readonly #connections: readonly Connection[];
  #callOff: (() => void) | undefined;

  constructor(timers: NbdTimers, limits: WatchdogLimits, connections: readonly Connection[]) {
    this.#timers = timers;
    this.#limits = limits;
    this.#connections = connections;
  }

  /** Looks from now on, until nothing is in flight. */
  watch(): void {
    const tickMs = Math.min(MOST_TICK_MS, Math.max(1, this.#limits.requestMs / 4));
    const dueAt = this.#timers.now() + tickMs;
    this.#callOff ??= this.#timers.after(tickMs, () => {
      this.#callOff = undefined;
      this.#look(this.#timers.now() - dueAt > OVERSLEPT_MS);
      if (this.#connections.some((connection) => connection.inFlight > 0)) this.watch();
    });
  }

  stop(): void {
    this.#callOff?.();
    this.#callOff = undefined;
  }

  #look(hasOverslept: boolean): void {
    const now = this.#timers.now();
    for (const connection of this.#connections.slice()) {
      // Answers may be waiting in the socket: they get a whole limit to be read.
      if (connection.progressed || hasOverslept) {
        connection.progressed = false;
        connection.progressAt = now;
      }
      const limit = connection.isFlushing ? this.#limits.flushMs : this.#limits.requestMs;
      for (const request of connection.requests()) {
        const silent = now - Math.max(request.sentAt, connection.progressAt);
        if (silent < limit && now - request.sentAt < limit * LIMITS_WITH_PROGRESS) continue;
        connection.abandon(
          new LateError(
            `the server did not answer a ${request.operation} within ${Math.round(now - request.sentAt)} ms`,
          ),
        );
        break;
      }
    }
  }
}
