import { describe, expect, test } from "vitest";
import { ExtentFlag, ExtentList } from "../../src/index.ts";

const { Data, Zero, HostOffset, Compressed } = ExtentFlag;

function lengths(list: ExtentList): readonly number[] {
  return Array.from({ length: list.count }, (_v, index) => list.lengthAt(index));
}

describe("ExtentList", () => {
  test("merges equal neighbours, and only those", () => {
    const list = new ExtentList();
    list.reset(100);
    list.append(10, Data);
    list.append(5, Data);
    list.append(1, Zero);
    list.append(1, Zero, 0, 1);
    list.append(0, Data);
    list.append(-1, Data);
    expect(lengths(list)).toEqual([15, 1, 1]);
    expect([list.offsetAt(0), list.offsetAt(2), list.next]).toEqual([100, 116, 117]);
  });

  test("merges host ranges only where they are contiguous, and never compressed ones", () => {
    const list = new ExtentList();
    list.reset(0);
    list.append(10, Data | HostOffset, 50);
    list.append(10, Data | HostOffset, 60);
    list.append(10, Data | HostOffset, 80);
    list.append(10, Data | HostOffset | Compressed, 90);
    list.append(10, Data | HostOffset | Compressed, 100);
    expect(lengths(list)).toEqual([20, 10, 10, 10]);
    expect(list.hostOffsetAt(1)).toBe(80);
  });

  test("when full refuses without effect, but still merges", () => {
    const list = new ExtentList(1);
    list.reset(0);
    expect(list.append(10, Data)).toBe(true);
    expect(list.append(10, Zero)).toBe(false);
    expect(list.append(10, Data)).toBe(true);
    expect([list.count, list.next]).toEqual([1, 20]);
  });

  test.each([
    [0, 0, []],
    [5, 5, [5]],
    [10, 10, [10]],
    [15, 15, [10, 5]],
    [99, 20, [10, 10]],
  ])("clip to %i ends at %i", (end, next, expected) => {
    const list = new ExtentList();
    list.reset(0);
    list.append(10, Data);
    list.append(10, Zero);
    list.clip(end);
    expect(lengths(list)).toEqual(expected);
    expect(list.next).toBe(next);
  });

  test("is used again after reset; capacity and indices are checked", () => {
    const list = new ExtentList(2);
    list.append(1, Data);
    list.reset(7);
    expect([list.count, list.next]).toEqual([0, 7]);
    for (const capacity of [0, -1, 1.5, Number.NaN])
      expect(() => new ExtentList(capacity)).toThrow(RangeError);
    expect(() => list.flagsAt(2)).toThrow(RangeError);
    expect(() => list.depthAt(-1)).toThrow(RangeError);
  });
});
