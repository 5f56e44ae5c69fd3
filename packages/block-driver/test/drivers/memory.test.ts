import { describe, expect, test } from "vitest";
import { ExtentFlag, ExtentList, MemoryDevice } from "../../src/index.ts";
import { filled } from "../support/graphs.ts";

function describeAll(device: MemoryDevice, capacity = 100): readonly (readonly [number, number])[] {
  const list = new ExtentList(capacity);
  device.status(0, device.info.size, list);
  return Array.from(
    { length: list.count },
    (_v, index) => [list.flagsAt(index), list.lengthAt(index)] as const,
  );
}

describe("a memory disk", () => {
  test("is sparse: what was never written takes nothing", () => {
    const device = new MemoryDevice(2 ** 50);
    device.write(2 ** 49, [filled(4096, 1)]);
    expect(device.allocatedBytes).toBe(4096);
    expect(describeAll(device)).toEqual([
      [ExtentFlag.Zero, 2 ** 49],
      [ExtentFlag.Data, 4096],
      [ExtentFlag.Zero, 2 ** 49 - 4096],
    ]);
    device.writeZeroes(0, 2 ** 50);
    expect(device.allocatedBytes).toBe(0);
  });

  test("zeroes parts of pages without losing the rest", () => {
    const device = new MemoryDevice(3 * 4096);
    device.write(0, [filled(3 * 4096, 7)]);
    device.writeZeroes(4000, 4500);
    const all = new Uint8Array(3 * 4096);
    device.read(0, [all]);
    const expected = filled(3 * 4096, 7);
    expected.fill(0, 4000, 8500);
    expect(all).toEqual(expected);
    expect(device.allocatedBytes).toBe(2 * 4096);
  });

  test("what was cut off does not come back", async () => {
    const device = new MemoryDevice(8192);
    device.write(0, [filled(8192, 9)]);
    await device.resize(100);
    await device.resize(8192);
    const all = new Uint8Array(8192);
    device.read(0, [all]);
    expect(all.subarray(0, 100)).toEqual(filled(100, 9));
    expect(all.subarray(100)).toEqual(filled(8092, 0));
  });

  test("status stops when the list is full", () => {
    const device = new MemoryDevice(5 * 4096);
    device.write(4096, [filled(1, 1)]);
    device.write(3 * 4096, [filled(1, 1)]);
    expect(describeAll(device, 2)).toEqual([
      [ExtentFlag.Zero, 4096],
      [ExtentFlag.Data, 4096],
    ]);
  });
});
