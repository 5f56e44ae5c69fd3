import { describe, expect, test } from "vitest";

import { ratioOf, reachesBar, type BenchRow } from "../src/index.ts";

const TIME: BenchRow = { figure: "time", unit: "ms", ours: 200, peer: { name: "peer", value: 500 } };
const RATE: BenchRow = {
  figure: "rate",
  unit: "MiB/s",
  ours: 200,
  peer: { name: "peer", value: 500 },
  largerIsBetter: true,
};

describe("ratioOf", () => {
  test("above 1 is in our favour, whether less or more is better", () => {
    expect(ratioOf(TIME)).toBe(2.5);
    expect(ratioOf(RATE)).toBe(0.4);
  });

  test("is not known without a peer", () => {
    expect(ratioOf({ figure: "alone", unit: "MiB", ours: 1 })).toBeUndefined();
  });
});

describe("reachesBar", () => {
  test("a bar on the ratio is reached exactly at it", () => {
    expect(reachesBar({ ...TIME, bar: { on: "ratio", atLeast: 2.5 } })).toBe(true);
    expect(reachesBar({ ...TIME, bar: { on: "ratio", atLeast: 2.51 } })).toBe(false);
  });

  test("a bar on the value looks at our value only, from both sides", () => {
    const bar = { on: "value", atLeast: 190, atMost: 210 } as const;
    expect(reachesBar({ ...TIME, bar })).toBe(true);
    expect(reachesBar({ ...TIME, ours: 189, bar })).toBe(false);
    expect(reachesBar({ ...TIME, ours: 211, bar })).toBe(false);
  });

  test("no bar, no verdict; a figure that is not known reaches none", () => {
    expect(reachesBar(TIME)).toBeUndefined();
    expect(reachesBar({ figure: "alone", unit: "ms", ours: 1, bar: { on: "ratio", atLeast: 0 } })).toBe(
      false,
    );
    expect(reachesBar({ ...TIME, ours: Number.NaN, bar: { on: "value", atMost: 1 } })).toBe(false);
  });
});
