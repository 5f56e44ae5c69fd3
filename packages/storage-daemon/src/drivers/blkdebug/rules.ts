import type { BlockErrorCode } from "@blockmirror/block-driver";

/** Events that this driver can tell; those inside qcow2 it cannot, for it does not see them. */
export const BLKDEBUG_EVENTS = [
  "none",
  "read_aio",
  "write_aio",
  "pwritev",
  "pwritev_zero",
  "pwritev_done",
  "flush_to_os",
  "flush_to_disk",
] as const;

/** When rules are looked at: `none` once, when the node is made; all others with each request of their kind. */
export type BlkdebugEvent = (typeof BLKDEBUG_EVENTS)[number];

/** Kinds of requests. */
export const BLKDEBUG_IO_TYPES = [
  "read",
  "write",
  "write-zeroes",
  "discard",
  "flush",
  "block-status",
] as const;

/** A kind of request that an error can strike. */
export type BlkdebugIoType = (typeof BLKDEBUG_IO_TYPES)[number];

/** An error that waits for its event. */
export interface InjectErrorRule {
  readonly event: BlkdebugEvent;
  /** The state it needs; 0 = any. */
  readonly state: number;
  /** The requests it strikes; without it, all but `block-status`. */
  readonly ioType: BlkdebugIoType | undefined;
  /** What a request fails with; undefined lets it pass, and hides it from the rules behind. */
  readonly error: BlockErrorCode | undefined;
  /** Requests that touch the first byte of this sector of 512 bytes; -1 = every request. */
  readonly sector: number;
  /** It strikes one request and is gone. */
  readonly once: boolean;
}

/** A change of state at an event. */
export interface SetStateRule {
  readonly event: BlkdebugEvent;
  /** The state it needs; 0 = any. */
  readonly state: number;
  readonly newState: number;
}

/** The rules of a node. */
export interface BlkdebugRuleSet {
  readonly errors: readonly InjectErrorRule[];
  readonly states: readonly SetStateRule[];
}

const SECTOR = 512;

/** The state in which a node begins. */
const FIRST_STATE = 1;

/**
 * The rules of one node at work, as `blkdebug` has them: an event arms the errors that wait for it, in place of those that
 * another event has armed; from then on they strike whatever request they fit, until they are replaced.
 */
export class BlkdebugRules {
  readonly #rules: BlkdebugRuleSet;
  readonly #spent: Set<InjectErrorRule> = new Set();
  #armed: readonly InjectErrorRule[] = [];
  #state: number = FIRST_STATE;

  constructor(rules: BlkdebugRuleSet) {
    this.#rules = rules;
    this.reach("none");
  }

  /** An event has come about. */
  reach(event: BlkdebugEvent): void {
    const state = this.#state;
    const fits = (rule: { readonly event: BlkdebugEvent; readonly state: number }): boolean =>
      rule.event === event && (rule.state === 0 || rule.state === state);
    const armed = this.#rules.errors.filter((rule) => fits(rule) && !this.#spent.has(rule));
    if (armed.length > 0) this.#armed = armed;
    this.#state = this.#rules.states.find(fits)?.newState ?? state;
  }

  /** What a request is to fail with, or undefined. */
  judge(ioType: BlkdebugIoType, offset: number, length: number): BlockErrorCode | undefined {
    const rule = this.#armed.find((each) => !this.#spent.has(each) && strikes(each, ioType, offset, length));
    if (rule?.error !== undefined && rule.once) this.#spent.add(rule);
    return rule?.error;
  }
}

function strikes(rule: InjectErrorRule, ioType: BlkdebugIoType, offset: number, length: number): boolean {
  const isKind = rule.ioType === undefined ? ioType !== "block-status" : rule.ioType === ioType;
  if (!isKind || rule.sector === -1) return isKind;
  const at = rule.sector * SECTOR;
  return at >= offset && at < offset + length;
}
