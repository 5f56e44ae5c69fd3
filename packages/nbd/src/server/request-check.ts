import { Command, CommandFlag, DEFAULT_MAXIMUM_PAYLOAD } from "../protocol/constants.ts";
import { NbdErrno } from "../protocol/errors.ts";
import { CACHE_STEP } from "./execute.ts";
import type { Agreement } from "./handshake.ts";
import type { Request } from "./request.ts";

/** With FUA offered, it must be accepted on every command. */
const ALLOWED_FLAGS: ReadonlyMap<number, number> = new Map([
  [Command.Read, CommandFlag.Fua | CommandFlag.Df],
  [Command.Write, CommandFlag.Fua],
  [Command.Flush, CommandFlag.Fua],
  [Command.Trim, CommandFlag.Fua],
  [Command.Cache, CommandFlag.Fua],
  [Command.WriteZeroes, CommandFlag.Fua | CommandFlag.NoHole | CommandFlag.FastZero],
  [Command.BlockStatus, CommandFlag.Fua | CommandFlag.ReqOne],
]);

/**
 * The error number for a request that must not be started, or 0. Writes beyond the end are `ENOSPC`, everything else that is out of
 * range is `EINVAL`, as the specification says.
 */
export function refusalOf(request: Request, agreement: Agreement): number {
  const { command, length, offset } = request;
  const allowed = ALLOWED_FLAGS.get(command);
  if (allowed === undefined) return NbdErrno.EINVAL;
  const isExtended = agreement.replies === "extended";
  const isWrite = command === Command.Write;
  // With extended headers a write says that it has a payload; nothing else may have one.
  const ownFlags = isExtended && isWrite ? CommandFlag.PayloadLength : 0;
  if ((request.flags & ~(allowed | ownFlags)) !== 0) return NbdErrno.EINVAL;
  if ((request.flags & ownFlags) !== ownFlags) return NbdErrno.EINVAL;
  if ((request.flags & CommandFlag.Df) !== 0 && agreement.replies === "simple") return NbdErrno.EINVAL;
  const isChange = isWrite || command === Command.Trim || command === Command.WriteZeroes;
  if (isChange && !agreement.exported.writable) return NbdErrno.EPERM;
  if (command === Command.Flush) return 0;
  if ((isWrite || command === Command.Read) && length > DEFAULT_MAXIMUM_PAYLOAD) return NbdErrno.EINVAL;
  // Not added up: the sum of two 64-bit integers would lose its last bits.
  if (offset > agreement.size || length > agreement.size - offset) {
    return isWrite || command === Command.WriteZeroes ? NbdErrno.ENOSPC : NbdErrno.EINVAL;
  }
  if (command === Command.BlockStatus && (length === 0 || agreement.contexts.length === 0)) {
    return NbdErrno.EINVAL;
  }
  return 0;
}

/** Most extents in one answer to BLOCK_STATUS. */
const MAX_EXTENTS = 4096;
/** Bytes that an extent takes while the answer is made: in a list, and in the longest form of the answer itself. */
const EXTENT_BYTES = 12 + 16;

/** How many extents of a context the answer to BLOCK_STATUS has room for. */
export function extentCapacity({ flags, length }: Request): number {
  return (flags & CommandFlag.ReqOne) === 0 ? Math.min(length, MAX_EXTENTS) : 1;
}

/**
 * Bytes of memory that a request can take until it is answered; `readHeaderSize` are those before the data of a read. Whatever
 * a client makes the server keep has to be counted here, or its limit is none.
 */
export function chargeOf(request: Request, { contexts }: Agreement, readHeaderSize: number): number {
  switch (request.command) {
    case Command.Read:
      return request.length + readHeaderSize;
    case Command.Cache:
      return Math.min(request.length, CACHE_STEP);
    case Command.BlockStatus:
      return contexts.length * extentCapacity(request) * EXTENT_BYTES;
    default:
      return request.payload;
  }
}
