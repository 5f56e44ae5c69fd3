import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

/** How many rows each part of the system of 2014 has: S1.1 … S1.4, S2.1 … and so on. */
const ROWS: readonly number[] = [
  4, 6, 3, 5, 3, 5, 3, 4, 5, 3, 4, 4, 3, 2, 2, 2, 6, 2, 3, 3, 5, 4, 2, 2, 2, 2, 6, 3, 4, 4, 3, 3, 3,
];

/** Defects of that system that must not come back. */
const DEFECTS = 26;

/** Defects that QEMU repaired later, by its commits. */
const REGRESSIONS: readonly string[] = ["0f51f9c342", "4a7b1bd18d", "9ac85f4cc7"];

/** What stands between `test` and its title: `.skipIf(…)`, `.each(…)`, with brackets inside up to three deep. */
const ARGUMENTS = String.raw`\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)`;
const TITLE = new RegExp(
  String.raw`^[ \t]*(?:test|it|describe)(?:\.\w+(?:${ARGUMENTS})?)*\(\s*(?:"([^"\n]*)"|` + "`([^`]*)`)",
  "gmu",
);

/** The titles of this package's tests; what only a comment names is not tested. */
function titles(): string {
  const folder = fileURLToPath(new URL("..", import.meta.url));
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".test.ts"),
  );
  const found = files.flatMap((name) =>
    [...readFileSync(`${folder}${name}`, "utf8").matchAll(TITLE)].map(
      ([, quoted, template]) => quoted ?? template,
    ),
  );
  return found.join("\n");
}

/** `S9.2 to S9.5` names every row between. */
function named(text: string): ReadonlySet<string> {
  const found = new Set(text.match(/\b(?:S\d+(?:\.\d+)?|D\d+|[0-9a-f]{10})\b/gu) ?? []);
  for (const [, part, from, to] of text.matchAll(/\bS(\d+)\.(\d+) to S\d+\.(\d+)\b/gu)) {
    for (let row = Number(from); row <= Number(to); row += 1) found.add(`S${part}.${row}`);
  }
  return found;
}

test("every row of the system, every old defect and every later repair has a test that is named after it", () => {
  const found = named(titles());
  const wanted = [
    ...ROWS.flatMap((count, part) => Array.from({ length: count }, (_, row) => `S${part + 1}.${row + 1}`)),
    ...Array.from({ length: DEFECTS }, (_, index) => `D${index + 1}`),
    // The trace points are one table without rows of its own.
    "S34",
    ...REGRESSIONS,
  ];
  // A part does not stand for its rows: `S13` names none of S13.1 to S13.3.
  expect(wanted.filter((row) => !found.has(row))).toEqual([]);
});
