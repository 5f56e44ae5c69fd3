import type { BlockDevice, IoOptions, WriteOptions, ZeroOptions } from "../contract/device.ts";
import { iovCopy, iovLength, iovSlice, isPromise, type IoVec, type MaybePromise } from "../contract/io.ts";
import { BlockError } from "../errors.ts";
import type { RangeLock } from "./range-lock.ts";
import { zeroVector } from "./zero-page.ts";

/**
 * Turns a request of any shape into requests that one device takes: aligned, within its limits, using only what it
 * has. The caller has checked bounds; a request of zero bytes never arrives here. The size of a device is a multiple of
 * its alignments (checked when it is opened), so a widened request stays inside it.
 */

export function readThrough(
  device: BlockDevice,
  offset: number,
  into: IoVec,
  length: number,
  options: IoOptions | undefined,
): MaybePromise<void> {
  const { align, max } = device.info;
  if (!isAligned(offset, length, align.read)) return readWidened(device, offset, into, length, options);
  if (length <= max.transfer && into.length <= max.iovecs) return device.read(offset, into, options);
  return inPieces(device, align.read, offset, into, (at, piece) => device.read(at, piece, options));
}

export function writeThrough(
  device: BlockDevice,
  offset: number,
  from: IoVec,
  length: number,
  options: WriteOptions | undefined,
  lock: RangeLock,
): MaybePromise<void> {
  if (device.write === undefined || !device.info.can.write)
    throw notSupported(device, "write", offset, length);
  if (options?.fua === true && !device.info.can.fua) {
    return writeThenFlush(device, offset, from, length, options, lock);
  }
  const { align, max } = device.info;
  if (align.write > 1) return writeAligned(device, offset, from, length, options, lock);
  if (length <= max.transfer && from.length <= max.iovecs) return device.write(offset, from, options);
  return inPieces(device, align.write, offset, from, (at, piece) => device.write?.(at, piece, options));
}

async function writeThenFlush(
  device: BlockDevice,
  offset: number,
  from: IoVec,
  length: number,
  options: WriteOptions,
  lock: RangeLock,
): Promise<void> {
  const { fua: _emulated, ...rest } = options;
  await writeThrough(device, offset, from, length, rest, lock);
  // Without the signal: something has been changed by now, so the request can no longer be cancelled.
  if (device.info.can.flush) await device.flush?.();
}

/**
 * Aligned writes take the lock shared with read-modify-write cycles as well: one that slips between another's read and
 * write would be undone.
 */
async function writeAligned(
  device: BlockDevice,
  offset: number,
  from: IoVec,
  length: number,
  options: WriteOptions | undefined,
  lock: RangeLock,
): Promise<void> {
  const unit = device.info.align.write;
  const start = roundDown(offset, unit);
  const end = roundUp(offset + length, unit);
  const release = await lock.acquire(start, end - start);
  try {
    const pieces: Uint8Array[] = [];
    if (start < offset) pieces.push(await readBlockPart(device, start, 0, offset - start, options));
    pieces.push(...from);
    const tail = end - (offset + length);
    if (tail > 0) pieces.push(await readBlockPart(device, end - unit, unit - tail, tail, options));
    await inPieces(device, unit, start, pieces, (at, piece) => device.write?.(at, piece, options));
  } finally {
    release();
  }
}

/** Reads one write block and returns `length` bytes of it from `skip` on. */
async function readBlockPart(
  device: BlockDevice,
  blockOffset: number,
  skip: number,
  length: number,
  options: IoOptions | undefined,
): Promise<Uint8Array> {
  const block = Buffer.allocUnsafeSlow(device.info.align.write);
  await readThrough(device, blockOffset, [block], block.byteLength, options);
  return block.subarray(skip, skip + length);
}

async function readWidened(
  device: BlockDevice,
  offset: number,
  into: IoVec,
  length: number,
  options: IoOptions | undefined,
): Promise<void> {
  const unit = device.info.align.read;
  const step = Math.max(unit, roundDown(Math.min(device.info.max.transfer, 1024 * 1024), unit));
  const bounce = Buffer.allocUnsafeSlow(
    Math.min(step, roundUp(offset + length, unit) - roundDown(offset, unit)),
  );
  let done = 0;
  while (done < length) {
    const start = roundDown(offset + done, unit);
    const skip = offset + done - start;
    const take = Math.min(length - done, bounce.byteLength - skip);
    await device.read(start, [bounce.subarray(0, roundUp(skip + take, unit))], options);
    iovCopy([bounce.subarray(skip, skip + take)], iovSlice(into, done, take));
    done += take;
  }
}

export function writeZeroesThrough(
  device: BlockDevice,
  offset: number,
  length: number,
  options: ZeroOptions | undefined,
  lock: RangeLock,
): MaybePromise<void> {
  const { can, align } = device.info;
  if (!can.write) throw notSupported(device, "writeZeroes", offset, length);
  const native = can.writeZeroes !== "no" && isAligned(offset, length, align.zero);
  const whole = (options?.fua !== true || can.fua) && length <= MAX_NATIVE_ZERO;
  if (native && whole && align.write === 1) {
    return fallBackOnNotSupported(device, offset, length, options, lock);
  }
  return writeZeroesInParts(device, offset, length, options, lock);
}

/** One native zero request; beyond it the range is cut, so that a cancel or a drain is not held up for long. */
const MAX_NATIVE_ZERO = 2 * 1024 * 1024 * 1024;

function fallBackOnNotSupported(
  device: BlockDevice,
  offset: number,
  length: number,
  options: ZeroOptions | undefined,
  lock: RangeLock,
): MaybePromise<void> {
  const fallBack = (error: unknown): MaybePromise<void> => {
    if (!(error instanceof BlockError) || error.code !== "ENOTSUP" || options?.noFallback === true)
      throw error;
    return writeZeroBuffers(device, offset, length, options, lock);
  };
  try {
    const result = besideWrites(device, offset, length, lock, () =>
      device.writeZeroes?.(offset, length, options),
    );
    return isPromise(result) ? result.catch(fallBack) : result;
  } catch (error) {
    return fallBack(error);
  }
}

/**
 * Zero requests and discards must not fall between the read and the write of a read-modify-write cycle, which would
 * bring the old bytes back: they take the lock of those cycles.
 */
function besideWrites(
  device: BlockDevice,
  offset: number,
  length: number,
  lock: RangeLock,
  run: () => MaybePromise<void>,
): MaybePromise<void> {
  return device.info.align.write === 1 ? run() : runLocked(device, offset, length, lock, run);
}

async function runLocked(
  device: BlockDevice,
  offset: number,
  length: number,
  lock: RangeLock,
  run: () => MaybePromise<void>,
): Promise<void> {
  const unit = device.info.align.write;
  const start = roundDown(offset, unit);
  const release = await lock.acquire(start, roundUp(offset + length, unit) - start);
  try {
    await run();
  } finally {
    release();
  }
}

async function writeZeroesInParts(
  device: BlockDevice,
  offset: number,
  length: number,
  options: ZeroOptions | undefined,
  lock: RangeLock,
): Promise<void> {
  const unit = device.info.align.zero;
  const end = offset + length;
  const innerStart = Math.min(roundUp(offset, unit), end);
  const innerEnd = Math.max(innerStart, roundDown(end, unit));
  const native = device.info.can.writeZeroes !== "no" && innerEnd > innerStart;
  if (options?.noFallback === true && (!native || innerStart > offset || innerEnd < end)) {
    throw notSupported(device, "writeZeroes without fallback", offset, length);
  }
  const emulateFua = options?.fua === true && !device.info.can.fua;
  const { fua: _later, ...withoutFua } = options ?? {};
  const plain = emulateFua ? withoutFua : (options ?? {});
  if (!native) {
    await writeZeroBuffers(device, offset, length, plain, lock);
  } else {
    if (innerStart > offset) await writeZeroBuffers(device, offset, innerStart - offset, plain, lock);
    for (let at = innerStart; at < innerEnd; at += MAX_NATIVE_ZERO) {
      await fallBackOnNotSupported(device, at, Math.min(MAX_NATIVE_ZERO, innerEnd - at), plain, lock);
    }
    if (end > innerEnd) await writeZeroBuffers(device, innerEnd, end - innerEnd, plain, lock);
  }
  if (emulateFua && device.info.can.flush) await device.flush?.();
}

/** Bytes of zero buffers in one write: large enough for speed, small enough to be interrupted. */
const ZERO_WRITE_SIZE = 8 * 1024 * 1024;

async function writeZeroBuffers(
  device: BlockDevice,
  offset: number,
  length: number,
  options: WriteOptions | undefined,
  lock: RangeLock,
): Promise<void> {
  const end = offset + length;
  for (let at = offset; at < end; at += ZERO_WRITE_SIZE) {
    const take = Math.min(ZERO_WRITE_SIZE, end - at);
    await writeThrough(device, at, zeroVector(take), take, options, lock);
  }
}

/** Drops the unaligned ends: a discard is advisory, and half a unit cannot be given back. */
export function discardThrough(
  device: BlockDevice,
  offset: number,
  length: number,
  options: IoOptions | undefined,
  lock: RangeLock,
): MaybePromise<void> {
  if (device.discard === undefined || device.info.can.discard === "no") return undefined;
  const unit = device.info.align.discard;
  const start = roundUp(offset, unit);
  // The last unit may be cut short by the end of the device; it is whole all the same.
  const end = offset + length === device.info.size ? device.info.size : roundDown(offset + length, unit);
  if (end <= start) return undefined;
  return besideWrites(device, start, end - start, lock, () => device.discard?.(start, end - start, options));
}

/** Runs a large request as consecutive ones within the device's limits. */
async function inPieces(
  device: BlockDevice,
  unit: number,
  offset: number,
  iov: IoVec,
  run: (offset: number, piece: IoVec) => MaybePromise<void>,
): Promise<void> {
  const { max } = device.info;
  const whole = iovLength(iov);
  const most = Math.max(unit, roundDown(max.transfer, unit));
  let done = 0;
  while (done < whole) {
    const piece = iovSlice(iov, done, Math.min(most, whole - done));
    const fitting =
      piece.length <= max.iovecs ? iovLength(piece) : roundDown(iovLength(piece.slice(0, max.iovecs)), unit);
    if (fitting > 0) {
      await run(offset + done, iovSlice(piece, 0, fitting));
      done += fitting;
    } else {
      await runBounced(offset + done, iovSlice(piece, 0, unit), run);
      done += unit;
    }
  }
}

/** One alignment unit scattered over more pieces than the device takes: through one contiguous buffer, both ways. */
async function runBounced(
  offset: number,
  iov: IoVec,
  run: (offset: number, piece: IoVec) => MaybePromise<void>,
): Promise<void> {
  const bounce = Buffer.allocUnsafeSlow(iovLength(iov));
  iovCopy(iov, [bounce]);
  await run(offset, [bounce]);
  iovCopy([bounce], iov);
}

function notSupported(device: BlockDevice, operation: string, offset: number, length: number): BlockError {
  const { label, driver, readOnly } = device.info;
  const code = readOnly ? "EROFS" : "ENOTSUP";
  const text = readOnly ? `${label} is open read-only` : `driver '${driver}' of ${label} has no ${operation}`;
  return new BlockError(code, `${operation} at offset ${offset} (${length} bytes): ${text}`, {
    node: label,
    operation,
    offset,
    length,
  });
}

function isAligned(offset: number, length: number, unit: number): boolean {
  return unit === 1 || (offset % unit === 0 && length % unit === 0);
}

/** The multiple of `unit` at or below `value`. */
export function roundDown(value: number, unit: number): number {
  return unit === 1 ? value : value - (value % unit);
}

/** The multiple of `unit` at or above `value`. */
export function roundUp(value: number, unit: number): number {
  return unit === 1 ? value : Math.ceil(value / unit) * unit;
}
