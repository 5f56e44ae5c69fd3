import { iovLength, iovSlice, isZero, type BlockEdge, type IoVec } from "@blockmirror/block-driver";
import type { ZeroMap } from "./zero-map.ts";

/** Zeroes are looked for in blocks of a chunk or a cluster, but of this many bytes at least: smaller holes save no space. */
const LEAST_BLOCK = 4096;

/** Where {@link writeSparsely} writes to. */
interface SparseTarget {
  readonly target: BlockEdge;
  readonly zeroMap: ZeroMap;
  readonly granularity: number;
}

/**
 * Writes what was read, with its blocks of zeroes as zeroes, which are holes where the target has any. What the target is known
 * to read as zeroes is left alone. Settles when all parts have; rejects as the first that failed.
 */
export async function writeSparsely(
  { target, zeroMap, granularity }: SparseTarget,
  offset: number,
  buffers: IoVec,
): Promise<void> {
  const length = iovLength(buffers);
  const block = Math.max(LEAST_BLOCK, granularity, target.info.align.allocation);
  const isZeroAt = (at: number): boolean => iovSlice(buffers, at, Math.min(block, length - at)).every(isZero);
  const parts: Promise<void>[] = [];
  for (let at = 0; at < length;) {
    const zero = isZeroAt(at);
    let end = at + block;
    while (end < length && isZeroAt(end) === zero) end += block;
    parts.push(write(offset + at, iovSlice(buffers, at, Math.min(end, length) - at), zero));
    at = end;
  }
  for (const outcome of await Promise.allSettled(parts))
    if (outcome.status === "rejected") throw outcome.reason;

  async function write(from: number, bytes: IoVec, zero: boolean): Promise<void> {
    const size = iovLength(bytes);
    if (zero && zeroMap.covers(from, size)) return;
    // Forgotten when the write starts: a failed one may have written a part.
    zeroMap.forget(from, size);
    if (zero) await target.writeZeroes(from, size, { unmap: true });
    else await target.write(from, bytes, { batch: true });
  }
}
