import { deferred, type Deferred } from "../../io/deferred.ts";
import { ActiveRule, type FaultOperation, type FaultRequest, type FaultRule } from "./rules.ts";

/** Where delays come from; tests give their own. */
export type FaultTimer = (delayMs: number) => Promise<void>;

/** Settings of a {@link FaultController}. */
export interface FaultControllerOptions {
  readonly rules?: readonly FaultRule[];
  /** Seed of `probability`. Default 1. */
  readonly seed?: number;
  /** Default: the machine's timers. */
  readonly timer?: FaultTimer;
  /** How many requests the log keeps, the newest ones; 0 = none. Default 16384. */
  readonly logLimit?: number;
}

const DEFAULT_LOG_LIMIT = 16_384;

/** A request in the log. */
export interface FaultLogEntry extends FaultRequest {
  /** What the device did: `passed`, or the code it failed it with. */
  readonly outcome: string;
}

/** A request that is held until somebody lets it go. */
export interface HeldRequest extends FaultRequest {
  /** Lets this request go on. Idempotent. */
  release(): void;
}

/**
 * The handle on a fault device: rules can be added and taken away while it works, requests held and let go, and the
 * latest requests are in a log. One controller can serve several devices; they then share rules, state and log.
 */
export class FaultController {
  readonly #rules = new Set<ActiveRule>();
  readonly #held = new Set<HeldRequest>();
  readonly #log: FaultLogEntry[] = [];
  readonly #logLimit: number;
  readonly #timer: FaultTimer;
  readonly #random: () => number;
  #changed: Deferred = deferred();
  /** The state that rules compare with and change. Starts at 1, as blkdebug's does. */
  state = 1;

  /** @throws RangeError for a limit that is no count, and as {@link add}. */
  constructor(options: FaultControllerOptions = {}) {
    this.#logLimit = options.logLimit ?? DEFAULT_LOG_LIMIT;
    if (!Number.isSafeInteger(this.#logLimit) || this.#logLimit < 0) {
      throw new RangeError(`a log keeps a count of requests of at least 0, not ${this.#logLimit}`);
    }
    this.#timer = options.timer ?? realTimer;
    this.#random = generator(options.seed ?? 1);
    for (const rule of options.rules ?? []) this.add(rule);
  }

  /**
   * Adds a rule; rules are tried in order and the first that strikes decides.
   * @returns the function that takes it away.
   */
  add(rule: FaultRule): () => void {
    const active = new ActiveRule(rule);
    this.#rules.add(active);
    return () => this.#rules.delete(active);
  }

  /** Takes every rule away. Held requests stay held. */
  clear(): void {
    this.#rules.clear();
  }

  /** The latest requests in the order they came, with what became of them; at most `logLimit`. */
  get log(): readonly FaultLogEntry[] {
    return this.#log.length <= this.#logLimit ? this.#log : this.#log.slice(-this.#logLimit);
  }

  /** Empties the log. */
  clearLog(): void {
    this.#log.length = 0;
  }

  /** Requests that wait for {@link release}. */
  get held(): readonly HeldRequest[] {
    return [...this.#held];
  }

  /** Resolves with the first held request of that operation (or any), now or when there is one. */
  async waitForHeld(operation?: FaultOperation): Promise<HeldRequest> {
    for (;;) {
      for (const request of this.#held) {
        if (operation === undefined || request.operation === operation) return request;
      }
      await this.#changed.promise;
    }
  }

  /** Lets every held request go on. */
  release(): void {
    for (const request of this.#held) request.release();
  }

  /**
   * The device's part: the rule that strikes a request, if any.
   * @internal
   */
  judge(request: FaultRequest): FaultRule | undefined {
    for (const active of this.#rules) {
      if (!active.strikes(request, this.state, this.#random)) continue;
      const { rule } = active;
      if (rule.newState !== undefined) this.state = rule.newState;
      this.#note(request, rule.error ?? "passed");
      return rule;
    }
    this.#note(request, "passed");
    return undefined;
  }

  /**
   * The device's part: waits as the rule says.
   * @internal
   */
  async wait(rule: FaultRule, request: FaultRequest): Promise<void> {
    if (rule.delayMs !== undefined) await this.#timer(rule.delayMs);
    if (rule.hold === true) await this.#hold(request);
  }

  #note(request: FaultRequest, outcome: string): void {
    if (this.#logLimit === 0) return;
    this.#log.push({ ...request, outcome });
    // Dropped in bulk, so that a request costs the same however long the log is.
    if (this.#log.length === 2 * this.#logLimit) this.#log.splice(0, this.#logLimit);
  }

  async #hold(request: FaultRequest): Promise<void> {
    const { promise, resolve } = deferred();
    const held: HeldRequest = {
      ...request,
      release: () => {
        this.#held.delete(held);
        resolve();
      },
    };
    this.#held.add(held);
    const changed = this.#changed;
    this.#changed = deferred();
    changed.resolve();
    await promise;
  }
}

function realTimer(delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, delayMs);
  });
}

/** Deterministic numbers in [0, 1) from a linear congruential generator: only their spread matters here. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
