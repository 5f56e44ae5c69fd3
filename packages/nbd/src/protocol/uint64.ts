/** What one unit of the upper half of a 64-bit integer is worth. */
const HIGH_UNIT = 0x1_0000_0000;

/**
 * The big-endian 64-bit integer at byte `at`. Exact up to 2^53-1; greater ones lose their last bits but stay greater, so
 * that a comparison with a size refuses them.
 */
export function readUint64(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at) * HIGH_UNIT + bytes.readUInt32BE(at + 4);
}

/** Stores a safe integer as a big-endian 64-bit one at byte `at`. */
export function writeUint64(bytes: Buffer, at: number, value: number): void {
  bytes.writeUInt32BE(Math.floor(value / HIGH_UNIT), at);
  bytes.writeUInt32BE(value % HIGH_UNIT, at + 4);
}
