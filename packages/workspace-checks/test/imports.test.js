import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { findImports } from "../src/imports.js";

/** @param {string} source */
const specifiers = (source) => findImports(source).map(({ specifier }) => specifier);

describe("findImports", () => {
  test("finds every form that names a module", () => {
    const source = `
import "./side-effect.ts";
import a from "./default.ts";
import * as b from "./namespace.ts";
import { c, type D } from './named.ts';
import e, { f } from "./both.ts";
import type { G } from "./types.ts";
import { "odd name" as odd } from "./string-name.ts";
import json from "./data.json" with { type: "json" };
export { h } from "./re-export.ts";
export * from "./star.ts";
export type * from "./type-star.ts";
export {
  i,
  type J,
  k as l,
} from "./many-lines.ts";
const m = await import("./called.ts");
type N = import("./import-type.ts").N;
if (x) { const y = await import(
  "./wrapped.ts"
); }
`;
    assert.deepEqual(specifiers(source), [
      "./side-effect.ts",
      "./default.ts",
      "./namespace.ts",
      "./named.ts",
      "./both.ts",
      "./types.ts",
      "./string-name.ts",
      "./data.json",
      "./re-export.ts",
      "./star.ts",
      "./type-star.ts",
      "./many-lines.ts",
      "./called.ts",
      "./import-type.ts",
      "./wrapped.ts",
    ]);
  });

  test("does not find what only looks like one", () => {
    const source = `
// import "./line-comment.ts";
/*
import "./block-comment.ts";
 * {@link import("./doc.ts")}
 */
const a = \`
import "./template.ts";
\`;
const b = "import('./string.ts')".length, url = "https://example.org"; // "
const c = /import "x" \\/* /;
export const d = 1; const from = "./variable.ts";
export function e() { return "x"; }
`;
    assert.deepEqual(specifiers(source), []);
  });

  test("keeps finding after strings, regular expressions and comments that hold each other's marks", () => {
    const source = `
const a = "/* not a comment";
const b = '//';
const c = text.replace(/["'\`]/u, "") / 2;
const d = /[/*]/.test(a); /* ' */
import "./after.ts";
`;
    assert.deepEqual(specifiers(source), ["./after.ts"]);
  });

  test("tells the line of the module's name", () => {
    const source = `/* one\ntwo */\nimport {\n  a,\n} from "./a.ts";\nimport "./b.ts";\n`;
    assert.deepEqual(findImports(source), [
      { specifier: "./a.ts", line: 5 },
      { specifier: "./b.ts", line: 6 },
    ]);
  });
});
