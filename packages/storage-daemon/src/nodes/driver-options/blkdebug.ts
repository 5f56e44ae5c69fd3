import { FaultController, type FaultOperation, type FaultRule } from "@blockmirror/block-driver";
import { commandError, isJsonObject, type JsonObject, type JsonValue } from "@blockmirror/qmp";

/** Error numbers that rules may inject, by their value on Linux. */
const ERROR_CODES: Readonly<Record<number, NonNullable<FaultRule["error"]>>> = {
  1: "EACCES",
  2: "ENOENT",
  5: "EIO",
  13: "EACCES",
  16: "EBUSY",
  22: "EINVAL",
  27: "EFBIG",
  28: "ENOSPC",
  30: "EROFS",
  95: "ENOTSUP",
  110: "ETIMEDOUT",
};

const EIO = 5;
const SECTOR = 512;

/** Requests that belong to an event of the rules. */
const EVENT_OPERATIONS: Readonly<Record<string, readonly FaultOperation[]>> = {
  none: ["read", "write", "writeZeroes", "discard", "flush", "status"],
  read_aio: ["read"],
  write_aio: ["write"],
  pwritev: ["write"],
  pwritev_zero: ["writeZeroes"],
  flush_to_disk: ["flush"],
};

const IO_TYPES: Readonly<Record<string, FaultOperation>> = {
  read: "read",
  write: "write",
  "write-zeroes": "writeZeroes",
  discard: "discard",
  flush: "flush",
  "block-status": "status",
};

/** Options of `blkdebug` that the fault driver has nothing for. */
const UNSUPPORTED = [
  "config",
  "align",
  "max-transfer",
  "opt-write-zero",
  "max-write-zero",
  "opt-discard",
  "max-discard",
  "take-child-perms",
  "unshare-child-perms",
] as const;

/** The state that `blkdebug` begins in. */
const FIRST_STATE = 1;

/**
 * `blkdebug` on the fault driver: errors by event, kind of request, sector and state, and changes of state. Of several
 * rules for one request the first decides, errors before changes of state.
 *
 * @throws QmpError of class `GenericError` for what the fault driver cannot do.
 */
export function blkdebugController(options: JsonObject): FaultController {
  for (const name of UNSUPPORTED) {
    if (options[name] !== undefined) {
      throw commandError(`Parameter '${name}' is not supported by driver 'blkdebug'; leave it out`);
    }
  }
  // Nobody can ask for its log.
  const controller = new FaultController({ logLimit: 0 });
  controller.state = FIRST_STATE;
  for (const rule of objects(options["inject-error"])) controller.add(errorRule(rule));
  for (const rule of objects(options["set-state"])) controller.add(stateRule(rule));
  return controller;
}

function objects(value: JsonValue | undefined): readonly JsonObject[] {
  const list: readonly JsonValue[] = Array.isArray(value) ? value : [];
  return list.filter((item) => isJsonObject(item));
}

function errorRule(rule: JsonObject): FaultRule {
  const { event, iotype, errno = EIO, sector = -1, once, state = 0, immediately } = rule;
  if (immediately === true) {
    throw commandError("Parameter 'inject-error.immediately' is not supported; leave it out");
  }
  const error = typeof errno === "number" ? ERROR_CODES[errno] : undefined;
  if (error === undefined) {
    throw commandError(`Parameter 'inject-error.errno' does not support value ${Number(errno)}`);
  }
  const type = typeof iotype === "string" ? IO_TYPES[iotype] : undefined;
  const operation =
    type === undefined ? operationsOf(event) : operationsOf(event).filter((each) => each === type);
  const at = Number(sector);
  return {
    operation,
    error,
    times: once === true ? 1 : 0,
    ...(at < 0 ? {} : { offset: at * SECTOR, length: SECTOR }),
    ...(Number(state) === 0 ? {} : { state: Number(state) }),
  };
}

function stateRule(rule: JsonObject): FaultRule {
  const { event, state = 0, new_state: newState } = rule;
  return {
    operation: operationsOf(event),
    newState: Number(newState),
    times: 0,
    ...(Number(state) === 0 ? {} : { state: Number(state) }),
  };
}

function operationsOf(event: JsonValue | undefined): readonly FaultOperation[] {
  return (typeof event === "string" ? EVENT_OPERATIONS[event] : undefined) ?? [];
}
