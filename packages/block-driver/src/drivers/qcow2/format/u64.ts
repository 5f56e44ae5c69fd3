import { BlockError } from "../../../errors.ts";

const WORD = 2 ** 32;

/**
 * Reads a big-endian u64 as an exact number.
 * @throws BlockError `EFBIG` naming `what` when it is beyond 2^53-1.
 */
export function readU64(view: DataView, at: number, what: string): number {
  const value = view.getUint32(at) * WORD + view.getUint32(at + 4);
  if (!Number.isSafeInteger(value)) {
    const exact = view.getBigUint64(at);
    throw new BlockError("EFBIG", `${what} is ${exact}; at most 2^53-1 is supported`);
  }
  return value;
}

/** Writes a safe integer as a big-endian u64. */
export function writeU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / WORD));
  view.setUint32(at + 4, value % WORD);
}

/** A view of exactly the bytes of `bytes`. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
