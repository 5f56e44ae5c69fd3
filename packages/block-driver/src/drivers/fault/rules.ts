import type { BlockErrorCode } from "../../errors.ts";

/** Requests that a rule can match. */
export type FaultOperation = "read" | "write" | "writeZeroes" | "discard" | "flush" | "resize" | "status";

/** Every {@link FaultOperation}. */
export const FAULT_OPERATIONS: readonly FaultOperation[] = [
  "read",
  "write",
  "writeZeroes",
  "discard",
  "flush",
  "resize",
  "status",
];

/** When a rule strikes and what it does. A rule without `error`, `delayMs` and `hold` only counts and changes state. */
export interface FaultRule {
  /** Requests it looks at. Default: all. */
  readonly operation?: FaultOperation | readonly FaultOperation[];
  /** Only requests that touch `[offset, offset + length)`; `flush` and `resize` have no range and always match. */
  readonly offset?: number;
  /** Length of the range in bytes. Default: one byte, when `offset` is given. */
  readonly length?: number;
  /** Strike at the nth matching request, from 1. Default 1. */
  readonly nth?: number;
  /** Strike this many times from then on; 0 = for ever. Default 1. */
  readonly times?: number;
  /** Strike with this probability, 0 to 1, decided by the device's seed. Default 1. */
  readonly probability?: number;
  /** Only in this state. Default: in every state. */
  readonly state?: number;
  /** Strikes change the device to this state. */
  readonly newState?: number;
  /** Fail with this code. */
  readonly error?: BlockErrorCode;
  /** With `error`: this many bytes are transferred before it fails. Default 0. */
  readonly transferred?: number;
  /** Wait this long first, in milliseconds. */
  readonly delayMs?: number;
  /** Wait until `FaultController.release`. */
  readonly hold?: boolean;
}

/** A request as rules see it. */
export interface FaultRequest {
  readonly operation: FaultOperation;
  /** Bytes; 0 for `flush`. For `resize` the length is the new size. */
  readonly offset: number;
  readonly length: number;
}

/** A rule with its counters. */
export class ActiveRule {
  readonly rule: FaultRule;
  readonly #operations: ReadonlySet<FaultOperation>;
  #matched = 0;
  #struck = 0;

  /** @throws RangeError for numbers that make no sense. */
  constructor(rule: FaultRule) {
    requireCount("nth", rule.nth ?? 1, 1);
    requireCount("times", rule.times ?? 1, 0);
    requireCount("offset", rule.offset ?? 0, 0);
    requireCount("length", rule.length ?? 1, 1);
    requireCount("transferred", rule.transferred ?? 0, 0);
    const { probability = 1, operation = FAULT_OPERATIONS } = rule;
    if (!(probability >= 0 && probability <= 1)) {
      throw new RangeError(`probability of a fault rule must be from 0 to 1, not ${probability}`);
    }
    this.rule = rule;
    this.#operations = new Set(typeof operation === "string" ? [operation] : operation);
    for (const name of this.#operations) {
      if (!FAULT_OPERATIONS.includes(name)) {
        throw new RangeError(`a fault rule knows ${FAULT_OPERATIONS.join(", ")}, not '${name}'`);
      }
    }
  }

  /** How often it has struck. */
  get struck(): number {
    return this.#struck;
  }

  /** Counts the request and says whether the rule strikes. */
  strikes(request: FaultRequest, state: number, random: () => number): boolean {
    const { rule } = this;
    if (!this.#operations.has(request.operation) || !this.#touches(request)) return false;
    if (rule.state !== undefined && rule.state !== state) return false;
    this.#matched += 1;
    if (this.#matched < (rule.nth ?? 1)) return false;
    const times = rule.times ?? 1;
    if (times !== 0 && this.#struck >= times) return false;
    if (rule.probability !== undefined && random() >= rule.probability) return false;
    this.#struck += 1;
    return true;
  }

  #touches(request: FaultRequest): boolean {
    const { offset, length = 1 } = this.rule;
    if (offset === undefined || request.operation === "flush" || request.operation === "resize") return true;
    return request.offset < offset + length && offset < request.offset + request.length;
  }
}

function requireCount(name: string, value: number, min: number): void {
  if (!Number.isSafeInteger(value) || value < min) {
    throw new RangeError(`${name} of a fault rule must be an integer of at least ${min}, not ${value}`);
  }
}
