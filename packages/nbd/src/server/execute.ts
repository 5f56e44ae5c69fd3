import { BlockError, isPromise, type BlockEdge, type MaybePromise } from "@blockmirror/block-driver";
import { Command, CommandFlag } from "../protocol/constants.ts";
import type { Request } from "./request.ts";

const FUA = { fua: true } as const;

/** Bytes that CACHE reads at a time. */
export const CACHE_STEP: number = 1024 * 1024;

/** Starts the change that a request asks for, at the node its export leads to. */
export function executeChange(edge: BlockEdge, request: Request): MaybePromise<void> {
  const { command, flags, offset, length } = request;
  const fua = (flags & CommandFlag.Fua) !== 0;
  switch (command) {
    case Command.Write:
      return edge.write(offset, request.pieces, fua ? FUA : undefined);
    case Command.Flush:
      return edge.flush();
    case Command.Trim:
      return trim(edge, offset, length, fua);
    case Command.WriteZeroes:
      return writeZeroes(edge, offset, length, flags);
    default:
      throw new TypeError(`command ${command} changes nothing`);
  }
}

function trim(edge: BlockEdge, offset: number, length: number, fua: boolean): MaybePromise<void> {
  const trimmed = edge.discard(offset, length);
  if (!fua) return trimmed;
  return isPromise(trimmed) ? trimmed.then(() => edge.flush()) : edge.flush();
}

function writeZeroes(edge: BlockEdge, offset: number, length: number, flags: number): MaybePromise<void> {
  const isFast = (flags & CommandFlag.FastZero) !== 0;
  if (isFast && edge.info.can.writeZeroes !== "fast") {
    throw new BlockError("ENOTSUP", `${edge.info.label} zeroes no faster than it writes`);
  }
  return edge.writeZeroes(offset, length, {
    unmap: (flags & CommandFlag.NoHole) === 0,
    noFallback: isFast,
    fua: (flags & CommandFlag.Fua) !== 0,
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
