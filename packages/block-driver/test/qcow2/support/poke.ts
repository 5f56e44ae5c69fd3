import { closeSync, openSync, readSync, writeSync } from "node:fs";

/** Overwrites bytes of a file in place. */
export function poke(filename: string, offset: number, bytes: Uint8Array): void {
  const fd = openSync(filename, "r+");
  try {
    writeSync(fd, bytes, 0, bytes.length, offset);
  } finally {
    closeSync(fd);
  }
}

/** Overwrites a big-endian u64. */
export function poke64(filename: string, offset: number, value: bigint): void {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  poke(filename, offset, bytes);
}

/** Overwrites a big-endian u32. */
export function poke32(filename: string, offset: number, value: number): void {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  poke(filename, offset, bytes);
}

/** Overwrites a big-endian u16. */
export function poke16(filename: string, offset: number, value: number): void {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  poke(filename, offset, bytes);
}

/** Reads a big-endian u64. */
export function peek64(filename: string, offset: number): bigint {
  const fd = openSync(filename, "r");
  try {
    const bytes = Buffer.alloc(8);
    readSync(fd, bytes, 0, 8, offset);
    return bytes.readBigUInt64BE(0);
  } finally {
    closeSync(fd);
  }
}
