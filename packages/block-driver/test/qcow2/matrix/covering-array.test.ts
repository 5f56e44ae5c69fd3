import { lacksPeers } from "@blockmirror/peers";
import { describe, expect, test } from "vitest";
import { Random } from "../../../src/conformance/random.ts";
import { qemuImg, qemuInfo, qemuIo } from "../support/qemu-img.ts";
import { scratchFiles } from "../support/scratch.ts";
import {
  completeRow,
  coveringArray,
  isForbidden,
  pairsOf,
  type Factors,
  type Forbidden,
  type Row,
} from "./covering-array.ts";
import {
  createByQemu,
  createByUs,
  FACTORS,
  FORBIDDEN,
  ImageVariant,
  makeBacking,
  type ForbiddenImage,
  type ImageFiles,
} from "./image-variants.ts";

/** Every row there is, one by one: no cleverness that could be wrong in the same way as what it judges. */
function* everyRow(factors: Factors): Generator<Row> {
  const list = [...factors];
  const total = list.reduce((product, [, values]) => product * values.length, 1);
  for (let number = 0; number < total; number += 1) {
    const row = new Map<string, string>();
    let rest = number;
    for (const [factor, values] of list) {
      row.set(factor, values[rest % values.length] ?? "");
      rest = Math.floor(rest / values.length);
    }
    yield row;
  }
}

/** Pairs that no row of an array has, though a permitted row could. */
function missingPairs(
  rows: readonly Row[],
  factors: Factors,
  forbidden: readonly Forbidden[],
): readonly string[] {
  const covered = new Set(rows.flatMap(pairsOf));
  const list = [...factors];
  const missing: string[] = [];
  for (const [index, [first, firstValues]] of list.entries()) {
    for (const [second, secondValues] of list.slice(index + 1)) {
      for (const a of firstValues) {
        for (const b of secondValues) {
          const fixed = new Map([...factors, [first, [a]], [second, [b]]] as const);
          const pair = pairsOf(
            new Map([
              [first, a],
              [second, b],
            ]),
          ).join();
          if (covered.has(pair)) continue;
          for (const row of everyRow(fixed)) {
            if (isForbidden(row, forbidden)) continue;
            missing.push(pair);
            break;
          }
        }
      }
    }
  }
  return missing;
}

const SMALL: Factors = new Map([
  ["a", ["1", "2", "3"]],
  ["b", ["1", "2"]],
  ["c", ["1", "2", "3", "4"]],
  ["d", ["1", "2"]],
]);

describe("a covering array", () => {
  test.each<[string, readonly Forbidden[]]>([
    ["nothing forbidden", []],
    ["two values", [{ why: "", together: { a: ["1"], b: ["2"] } }]],
    [
      "values that only together rule out a third",
      [
        { why: "", together: { a: ["1"], d: ["1"] } },
        { why: "", together: { c: ["4"], d: ["2"] } },
      ],
    ],
    ["three at once", [{ why: "", together: { a: ["1", "2"], b: ["1"], c: ["2", "3"] } }]],
    ["a value that can never be", [{ why: "", together: { c: ["3"] } }]],
  ])("has every pair that any permitted row has, and no forbidden row: %s", (_name, forbidden) => {
    const rows = coveringArray(SMALL, forbidden);
    expect(rows.filter((row) => isForbidden(row, forbidden))).toEqual([]);
    expect(missingPairs(rows, SMALL, forbidden)).toEqual([]);
  });

  test("that lacks a pair is found out", () => {
    const [, ...rows] = coveringArray(SMALL, []);
    expect(missingPairs(rows, SMALL, [])).not.toEqual([]);
  });

  test("is small, and the same every time", () => {
    const rows = coveringArray(SMALL, []);
    // Twelve is the least there can be: three values by four.
    expect(rows.length).toBeLessThanOrEqual(14);
    expect(coveringArray(SMALL, [])).toEqual(rows);
  });

  test("of the images has every two properties that go together", () => {
    const rows = coveringArray(FACTORS, FORBIDDEN);
    expect(missingPairs(rows, FACTORS, FORBIDDEN)).toEqual([]);
    expect(rows.filter((row) => isForbidden(row, FORBIDDEN))).toEqual([]);
    expect(rows.length).toBeLessThan(60);
  });
});

describe.skipIf(lacksPeers("qemu-img"))("what is left out", () => {
  const at = scratchFiles();

  test.each(FORBIDDEN)("is refused by qemu-img, and by us where we do it: $why", async (rule) => {
    const variant = exampleOf(rule);
    const files = (name: string): ImageFiles => ({ image: at(name), data: at(`${name}.data`), at });
    await makeBacking(variant, files("a"), new Random(1));
    if (rule.refusedBy === "create") {
      await expect(createByQemu(variant, files("theirs"))).rejects.toThrow("exit status 1");
      await expect(createByUs(variant, files("ours"))).rejects.toMatchObject({ name: "BlockError" });
      return;
    }
    await createByQemu(variant, files("theirs"));
    const compress = `write -c -P 1 0 ${variant.clusterSize}`;
    if (rule.refusedBy === "compress") {
      await expect(qemuIo(at("theirs"), [compress])).rejects.toThrow("exit status 1");
      return;
    }
    if (variant.has("compressed")) {
      // Many in one host cluster: as many as its refcount can count.
      const length = variant.clusterSize;
      await qemuIo(
        at("theirs"),
        [1, 2, 3].map((at) => `write -c -P 1 ${at * length} ${length}`),
      );
    } else if (variant.size > 0) await qemuIo(at("theirs"), ["write -P 1 0 512"]);
    if (rule.refusedBy === "snapshot") {
      await expect(qemuImg(["snapshot", "-c", "one", at("theirs")])).rejects.toThrow("exit status 1");
      return;
    }
    // Not always refused by the command: a bitmap of no bits is lost when the image is closed, with a line that says so.
    await qemuImg(["bitmap", "--add", at("theirs"), "one"], [0, 1]);
    expect((await qemuInfo(at("theirs")))["format-specific"].data).not.toHaveProperty("bitmaps");
  });
});

/** A row that only this rule forbids. */
function exampleOf(rule: ForbiddenImage): ImageVariant {
  const given = new Map(Object.entries(rule.together).map(([factor, values]) => [factor, values[0] ?? ""]));
  const others = FORBIDDEN.filter((other) => other !== rule);
  const row = completeRow(given, FACTORS, others);
  if (row === undefined) throw new Error(`no row is forbidden by this alone: ${rule.why}`);
  return new ImageVariant(row);
}
