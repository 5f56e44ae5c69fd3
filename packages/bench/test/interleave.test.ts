import { describe, expect, test } from "vitest";

import { interleave, median, medianOf } from "../src/interleave.ts";

describe("median", () => {
  test("is the middle, or the mean of the two middle ones, in any order", () => {
    expect(median([9, 1, 5])).toBe(5);
    expect(median([9, 1, 5, 7])).toBe(6);
    expect(median([4])).toBe(4);
    expect(() => median([])).toThrow(RangeError);
  });

  test("one run that went wrong does not move it", () => {
    expect(median([10, 11, 10_000])).toBe(11);
  });
});

describe("interleave", () => {
  test("warms up once, then takes turns with another one first in each round", async () => {
    const order: string[] = [];
    const contestant = (name: string) => async (): Promise<number> => order.push(name);
    const results = await interleave(
      { a: contestant("a"), b: contestant("b"), c: contestant("c") },
      { runs: 2 },
    );
    expect(order.join("")).toBe("abcabcbca");
    // The figures are the counted ones only: positions 4 to 9 of the order.
    expect(results.get("a")).toEqual([4, 9]);
    expect(results.get("b")).toEqual([5, 7]);
  });

  test("tidies up after every run, the ones that do not count too", async () => {
    let runs = 0;
    let tidied = 0;
    const afterEach = async (): Promise<void> => {
      tidied += 1;
      expect(tidied).toBe(runs);
    };
    await interleave({ only: async () => (runs += 1) }, { runs: 3, afterEach });
    expect(tidied).toBe(4);
  });

  test("medians are by contestant and figure", async () => {
    let time = 0;
    const results = await interleave(
      { a: async () => ({ ms: (time += 10), n: 1 }), b: async () => ({ ms: 7, n: 2 }) },
      { runs: 3 },
    );
    expect(medianOf(results, "a", (figures) => figures.ms)).toBe(30);
    expect(medianOf(results, "b", (figures) => figures.n)).toBe(2);
    expect(() => medianOf(results, "nobody", (figures) => figures.ms)).toThrow(RangeError);
  });
});
