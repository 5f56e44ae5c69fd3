import { BlockError, isPromise, type BlockEdge, type MaybePromise } from "@blockmirror/block-driver";
import { Command, CommandFlag } from "../protocol/constants.ts";
import type { Request } from "./request.ts";

const FUA = { fua: true } as const;

/** Bytes that CACHE reads at a time. */
export const CACHE_STEP: number = 1024 * 1024;

/**
 * Starts the change that a request asks for, at the node its export leads to.
 *
 * @param isDurable whether what is written is on stable storage when it is answered, also where the client does not ask.
 */
export function executeChange(edge: BlockEdge, request: Request, isDurable: boolean): MaybePromise<void> {
  const { command, flags, offset, length } = request;
  const isAsked = (flags & CommandFlag.Fua) !== 0;
  const fua = isAsked || isDurable;
  switch (command) {
    case Command.Write:
      return edge.write(offset, request.pieces, fua ? FUA : undefined);
    case Command.Flush:
      return edge.flush();
    case Command.Trim:
      // Content that nobody wants any more need not be gone for good.
      return trim(edge, offset, length, isAsked);
    case Command.WriteZeroes:
      return writeZeroes(edge, request, fua);
    default:
      throw new TypeError(`command ${command} changes nothing`);
  }
}

function trim(edge: BlockEdge, offset: number, length: number, fua: boolean): MaybePromise<void> {
  const trimmed = edge.discard(offset, length);
  if (!fua) return trimmed;
  return isPromise(trimmed) ? trimmed.then(() => edge.flush()) : edge.flush();
}

function writeZeroes(edge: BlockEdge, { offset, length, flags }: Request, fua: boolean): MaybePromise<void> {
  const isFast = (flags & CommandFlag.FastZero) !== 0;
  if (isFast && edge.info.can.writeZeroes !== "fast") {
    throw new BlockError("ENOTSUP", `${edge.info.label} zeroes no faster than it writes`);
  }
  return edge.writeZeroes(offset, length, {
    unmap: (flags & CommandFlag.NoHole) === 0,
    noFallback: isFast,
    fua,
  });
}

/** Reads a range for the caches below, and keeps nothing of it; no longer than somebody wants it. */
export async function warmCache(
  edge: BlockEdge,
  offset: number,
  length: number,
  isWanted: () => boolean,
): Promise<void> {
  const scratch = Buffer.allocUnsafeSlow(Math.min(length, CACHE_STEP));
  const end = offset + length;
  for (let at = offset; at < end && isWanted(); at += CACHE_STEP) {
    const take = Math.min(CACHE_STEP, end - at);
    await edge.read(at, [take === scratch.byteLength ? scratch : scratch.subarray(0, take)]);
  }
}
