import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

/** How many hostile inputs of each kind the specification lists; of K, the recipe for fuzzing, there is one. */
const LISTED: Readonly<Record<string, number>> = {
  A: 39,
  B: 16,
  C: 10,
  D: 22,
  E: 13,
  F: 14,
  G: 14,
  H: 13,
  I: 10,
  J: 15,
  K: 1,
};

/**
 * The titles of tests, written out or in a table of cases: a string that begins with what it is about, as "D09, D10: is not
 * written to", or that is nothing else. What only a comment names is not tested.
 */
const TITLE = /(["`'])((?:[A-K]\d\d, )*[A-K]\d\d)(?:\1|:)/gu;
const COMMENT = /\/\*[\s\S]*?\*\/|^\s*\/\/[^\n]*$/gmu;

function named(): ReadonlySet<string> {
  const folder = fileURLToPath(new URL("..", import.meta.url));
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter(
    (name) => name.endsWith(".test.ts") && !name.endsWith("coverage.test.ts"),
  );
  const text = files
    .map((name) => readFileSync(`${folder}${name}`, "utf8").replaceAll(COMMENT, ""))
    .join("\n");
  return new Set([...text.matchAll(TITLE)].flatMap(([, , ids = ""]) => ids.split(", ")));
}

test("every hostile input that is listed has a test that is named after it", () => {
  const wanted = Object.entries(LISTED).flatMap(([kind, count]) =>
    Array.from({ length: count }, (_, index) => `${kind}${String(index + 1).padStart(2, "0")}`),
  );
  const found = named();
  expect(wanted.filter((id) => !found.has(id))).toEqual([]);
  // Nor is there one named after something that is not listed.
  expect([...found].filter((id) => !wanted.includes(id))).toEqual([]);
});
