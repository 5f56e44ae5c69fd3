import { expect, test } from "vitest";
import { allocateAligned, reserveAligned } from "../../src/index.ts";

const MIB = 1024 * 1024;

test("aligned memory is zero, of the size that was asked for, and ordinary otherwise", () => {
  for (const size of [0, 1, 4096, 3 * MIB + 5]) {
    const buffer = allocateAligned(size);
    expect(buffer.byteLength).toBe(size);
    expect(buffer.every((byte) => byte === 0)).toBe(true);
    buffer.fill(7);
    expect(buffer.every((byte) => byte === 7)).toBe(true);
  }
});

test("reserved memory weighs nothing before it is asked for, and is the same each time", () => {
  const before = process.memoryUsage().external;
  const memory = reserveAligned(256 * MIB);
  expect(process.memoryUsage().external - before).toBeLessThan(16 * MIB);
  const buffer = memory();
  expect(buffer.byteLength).toBe(256 * MIB);
  expect(process.memoryUsage().external - before).toBeGreaterThan(200 * MIB);
  expect(buffer[256 * MIB - 1]).toBe(0);
  buffer[5] = 9;
  expect(memory()[5]).toBe(9);
});

test("more memory than there can be is refused when it is reserved", () => {
  expect(() => reserveAligned(Number.MAX_SAFE_INTEGER)).toThrow(RangeError);
});
