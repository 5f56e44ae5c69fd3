import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fitColumns, type FittedTable, TABLE_MIN_COLUMNS } from "../../src/ui/model/columns.ts";
import { windowAround } from "../../src/ui/model/window.ts";
import { propertySeed } from "../support/seed.ts";

function ids(width: number, longestName = 16): string[] {
  return fitColumns(width, longestName).columns.map((column) => column.id);
}

function total(table: FittedTable): number {
  const widths = table.columns.reduce((sum, column) => sum + column.width, 0);
  return widths + 1 + (table.columns.length - 2) * table.gap;
}

describe("fitting columns", () => {
  test("state, progress, rate and ETA are there from the narrowest table on", () => {
    expect(ids(60)).toEqual(["mark", "name", "state", "progress", "rate", "eta"]);
  });

  test("what is left to copy joins at 80, everything at 200", () => {
    expect(ids(80)).toEqual(["mark", "name", "state", "progress", "rate", "eta", "dirty"]);
    expect(ids(120)).toEqual(expect.arrayContaining(["dirty", "io", "limit", "inflight", "type"]));
    expect(ids(200)).toEqual([
      "mark",
      "name",
      "state",
      "type",
      "progress",
      "rate",
      "eta",
      "dirty",
      "inflight",
      "limit",
      "io",
      "sync",
      "elapsed",
      "trend",
    ]);
  });

  test("never wider than the terminal, and no column below its minimum", () => {
    fc.assert(
      fc.property(fc.integer({ min: 60, max: 400 }), fc.integer({ min: 0, max: 100 }), (width, name) => {
        const table = fitColumns(width, name);
        expect(total(table)).toBeLessThanOrEqual(width);
        for (const column of table.columns) expect(column.width).toBeGreaterThan(0);
        expect(table.columns.find((column) => column.id === "name")?.width).toBeGreaterThanOrEqual(8);
        expect(table.columns.find((column) => column.id === "progress")?.width).toBeGreaterThanOrEqual(16);
      }),
      { seed: propertySeed, numRuns: 500 },
    );
  });

  test("a wider terminal never loses a column", () => {
    fc.assert(
      fc.property(fc.integer({ min: 60, max: 300 }), fc.nat(40), (width, extra) => {
        expect(ids(width + extra)).toEqual(expect.arrayContaining(ids(width)));
      }),
      { seed: propertySeed, numRuns: 500 },
    );
  });

  test("below the minimum there is no table", () => {
    expect(() => fitColumns(TABLE_MIN_COLUMNS - 1, 8)).toThrow(RangeError);
  });
});

test("a windowed list always shows its selection and never runs over the end", () => {
  fc.assert(
    fc.property(fc.nat(1000), fc.nat(1000), fc.integer({ min: 1, max: 60 }), (count, selected, size) => {
      const index = Math.min(selected, Math.max(0, count - 1));
      const { start, end } = windowAround(count, index, size);
      expect(end - start).toBe(Math.min(size, count));
      if (count > 0) expect(index >= start && index < end).toBe(true);
    }),
    { seed: propertySeed, numRuns: 500 },
  );
});
