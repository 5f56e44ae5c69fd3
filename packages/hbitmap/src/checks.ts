// Refusals of bad arguments. Every public method checks before it changes anything.

/** @throws RangeError unless `value` is a safe integer of at least `least`. */
export function checkInteger(name: string, value: number, least = 0): void {
  if (Number.isSafeInteger(value) && value >= least) return;
  const kind = least === 0 ? "a non-negative integer" : `an integer of at least ${least}`;
  throw new RangeError(`${name} must be ${kind} below 2^53: got ${value}`);
}

/**
 * An empty range is nowhere, hence never out of bounds.
 *
 * @throws RangeError unless `start` and `count` are safe integers and the range ends at or before `end`.
 */
export function checkRange(start: number, count: number, end: number): void {
  checkInteger("start", start);
  checkInteger("count", count);
  // Not `start + count > end`: the sum may not be exact.
  if (count > 0 && count > end - start) {
    throw new RangeError(`${count} items from ${start} reach beyond the bitmap, which ends at ${end}`);
  }
}

/** @throws RangeError unless `value` is a power of two in 1..2^52. */
export function checkPowerOfTwo(name: string, value: number): void {
  if (Number.isSafeInteger(value) && value > 0 && 2 ** Math.round(Math.log2(value)) === value) return;
  throw new RangeError(`${name} must be a power of two from 1 to 2^52: got ${value}`);
}

/** @throws RangeError unless the range begins and ends at multiples of `unit`, or ends at `size`. */
export function checkAligned(start: number, count: number, unit: number, size: number): void {
  if (start % unit === 0 && (count % unit === 0 || count === size - start)) return;
  throw new RangeError(
    `${count} items from ${start} must begin at a multiple of ${unit}, and end at one or at the size, ${size}`,
  );
}
