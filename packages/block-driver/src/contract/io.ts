/**
 * A value, or a promise of it. Drivers answer synchronously when they can (cached metadata, memory), so that hot
 * paths allocate no promise. Only drivers and the block layer deal in it; {@link BlockEdge} documents its own use.
 */
export type MaybePromise<T> = T | Promise<T>;

/** True when a {@link MaybePromise} has to be awaited. */
export function isPromise<T>(value: MaybePromise<T>): value is Promise<T> {
  return value instanceof Promise;
}

/**
 * Buffers of one request, in order; the request's length is the sum of theirs. Empty pieces are legal. The caller
 * owns them: a driver may use them until the request settles and never after.
 */
export type IoVec = readonly Uint8Array[];

/** Sum of the lengths of all pieces, in bytes. */
export function iovLength(iov: IoVec): number {
  let length = 0;
  for (const piece of iov) length += piece.byteLength;
  return length;
}

/**
 * The part of `iov` that covers `length` bytes from byte `start` on, sharing memory with it.
 * The range must lie inside the vector.
 */
export function iovSlice(iov: IoVec, start: number, length: number): IoVec {
  const first = iov[0];
  if (iov.length === 1 && first !== undefined) {
    return start === 0 && length === first.byteLength ? iov : [first.subarray(start, start + length)];
  }
  const slice: Uint8Array[] = [];
  let skip = start;
  let left = length;
  for (const piece of iov) {
    if (left === 0) break;
    if (skip >= piece.byteLength) {
      skip -= piece.byteLength;
      continue;
    }
    const take = Math.min(left, piece.byteLength - skip);
    slice.push(skip === 0 && take === piece.byteLength ? piece : piece.subarray(skip, skip + take));
    skip = 0;
    left -= take;
  }
  if (left > 0)
    throw new RangeError(`iovSlice: ${start}+${length} is outside a vector of ${iovLength(iov)} bytes`);
  return slice;
}

/** Fills the whole vector with zeroes. */
export function iovZero(iov: IoVec): void {
  for (const piece of iov) piece.fill(0);
}

/** Copies `from` into `to`; both must have the same length. */
export function iovCopy(from: IoVec, to: IoVec): void {
  let piece = 0;
  let used = 0;
  for (const source of from) {
    let at = 0;
    while (at < source.byteLength) {
      const target = to[piece];
      if (target === undefined) throw new RangeError("iovCopy: the target vector is shorter than the source");
      const take = Math.min(source.byteLength - at, target.byteLength - used);
      target.set(source.subarray(at, at + take), used);
      at += take;
      used += take;
      if (used === target.byteLength) {
        piece += 1;
        used = 0;
      }
    }
  }
}
