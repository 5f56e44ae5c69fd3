import type { IoVec } from "../contract/io.ts";

const ZERO_PAGE_SIZE = 1024 * 1024;
let zeroPage: Uint8Array | undefined;

/** The shared zero buffer of 1 MiB, made on first use. Nobody may write to it. */
function sharedZeroPage(): Uint8Array {
  zeroPage ??= new Uint8Array(new ArrayBuffer(ZERO_PAGE_SIZE));
  return zeroPage;
}

/** A vector of `length` zero bytes that costs no memory: pieces of one shared page. */
export function zeroVector(length: number): IoVec {
  const page = sharedZeroPage();
  const pieces: Uint8Array[] = [];
  for (let left = length; left > 0; left -= page.byteLength) {
    pieces.push(left >= page.byteLength ? page : page.subarray(0, left));
  }
  return pieces;
}

/** Whether every byte is zero; compares memory block by block, so data is found out early. */
export function isZero(bytes: Uint8Array): boolean {
  const page = sharedZeroPage();
  // The first words decide nearly every data buffer without touching the page.
  for (let index = 0; index < 16 && index < bytes.byteLength; index += 1)
    if (bytes[index] !== 0) return false;
  for (let at = 0; at < bytes.byteLength; at += page.byteLength) {
    const length = Math.min(page.byteLength, bytes.byteLength - at);
    if (Buffer.compare(bytes.subarray(at, at + length), page.subarray(0, length)) !== 0) return false;
  }
  return true;
}
