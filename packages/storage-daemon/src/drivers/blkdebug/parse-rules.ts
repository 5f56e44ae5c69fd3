import type { BlockErrorCode } from "@blockmirror/block-driver";
import {
  BLKDEBUG_EVENTS,
  BLKDEBUG_IO_TYPES,
  type BlkdebugEvent,
  type BlkdebugIoType,
  type InjectErrorRule,
  type SetStateRule,
} from "./rules.ts";

/** Members of a rule by their names in QMP and in configuration files, with values of the types of QMP. */
export type RuleMembers = Readonly<Record<string, unknown>>;

/** Error numbers that rules may inject, by their value on Linux. */
const ERROR_CODES: Readonly<Record<number, BlockErrorCode>> = {
  1: "EACCES",
  2: "ENOENT",
  5: "EIO",
  13: "EACCES",
  16: "EBUSY",
  17: "EEXIST",
  21: "EISDIR",
  22: "EINVAL",
  27: "EFBIG",
  28: "ENOSPC",
  30: "EROFS",
  95: "ENOTSUP",
  108: "ESHUTDOWN",
  110: "ETIMEDOUT",
  125: "ECANCELED",
};

const EIO = 5;

/** @throws Error that says what is wrong with the rule. */
export function injectErrorRule(members: RuleMembers): InjectErrorRule {
  const { errno = EIO, iotype } = members;
  const error = typeof errno === "number" ? ERROR_CODES[errno] : undefined;
  if (error === undefined && errno !== 0)
    throw new Error(`cannot inject error number ${JSON.stringify(errno)}`);
  return {
    event: eventOf(members),
    state: integer(members, "state", 0),
    ioType: iotype === undefined ? undefined : ioTypeOf(iotype),
    error,
    sector: integer(members, "sector", -1),
    once: members["once"] === true,
  };
}

/** @throws Error that says what is wrong with the rule. */
export function setStateRule(members: RuleMembers): SetStateRule {
  return {
    event: eventOf(members),
    state: integer(members, "state", 0),
    newState: integer(members, "new_state", 0),
  };
}

function eventOf({ event }: RuleMembers): BlkdebugEvent {
  if (event === undefined) throw new Error("lacks the event of a rule");
  const known = BLKDEBUG_EVENTS.find((each) => each === event);
  if (known === undefined) {
    throw new Error(`knows the events ${BLKDEBUG_EVENTS.join(", ")}, not ${JSON.stringify(event)}`);
  }
  return known;
}

function ioTypeOf(value: unknown): BlkdebugIoType {
  const known = BLKDEBUG_IO_TYPES.find((each) => each === value);
  if (known === undefined) {
    throw new Error(
      `knows the kinds ${BLKDEBUG_IO_TYPES.join(", ")} of requests, not ${JSON.stringify(value)}`,
    );
  }
  return known;
}

function integer(members: RuleMembers, name: string, fallback: number): number {
  const value = members[name] ?? fallback;
  if (!Number.isSafeInteger(value)) throw new Error(`has a rule whose '${name}' is no integer below 2^53`);
  return Number(value);
}
