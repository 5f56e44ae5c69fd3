import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import {
  checkFileCycles,
  checkImports,
  checkLockFile,
  checkManifests,
  checkPackageCycles,
  checkReferences,
} from "../src/graph-rules.js";
import { readWorkspace } from "../src/workspace.js";
import { scratchWorkspace } from "./scratch-workspace.js";

const LAYERS = {
  lower: { internal: [], external: ["koffi"] },
  upper: { internal: ["lower"], external: [] },
};

const LOWER = { name: "lower", exports: { ".": "./dist/index.js", "./kit": "./dist/kit.js" } };
const UPPER = {
  name: "upper",
  exports: { ".": "./dist/index.js" },
  imports: { "#main": "./dist/main.js" },
  dependencies: { lower: "^1.0.0" },
};
const TOOLS = { name: "tools", private: true };

/**
 * @param {import("node:test").TestContext} context
 * @param {Record<string, string | object>} files
 */
function workspace(context, files) {
  const root = scratchWorkspace(context, {
    "packages/lower/package.json": LOWER,
    "packages/upper/package.json": UPPER,
    "packages/tools/package.json": TOOLS,
    ...files,
  });
  return { root, packages: readWorkspace(root) };
}

describe("declared dependencies", () => {
  test("down the layers, and an optional external of the budget, are fine", (t) => {
    const { packages } = workspace(t, {
      "packages/lower/package.json": { ...LOWER, optionalDependencies: { koffi: "^3" } },
    });
    assert.deepEqual(checkManifests(packages, LAYERS), []);
    assert.deepEqual(checkPackageCycles(packages), []);
  });

  test("upwards is refused, and the circle it makes is told", (t) => {
    const { packages } = workspace(t, {
      "packages/lower/package.json": { ...LOWER, dependencies: { upper: "^1.0.0" } },
    });
    assert.deepEqual(checkManifests(packages, LAYERS), [
      "packages/lower/package.json: depends on upper, which is not below it",
    ]);
    assert.deepEqual(checkPackageCycles(packages), [
      "packages depend on each other in a circle: lower → upper → lower",
    ]);
  });

  test("a circle through a development dependency is a circle", (t) => {
    const { packages } = workspace(t, {
      "packages/lower/package.json": { ...LOWER, devDependencies: { upper: "*" } },
    });
    assert.deepEqual(checkManifests(packages, LAYERS), []);
    assert.equal(checkPackageCycles(packages).length, 1);
  });

  test("an external outside the budget, a private package and a hard dependency on an optional one are refused", (t) => {
    const { packages } = workspace(t, {
      "packages/lower/package.json": { ...LOWER, dependencies: { koffi: "^3", lodash: "^4", tools: "*" } },
    });
    assert.deepEqual(checkManifests(packages, LAYERS), [
      "packages/lower/package.json: koffi has to be an optional dependency",
      "packages/lower/package.json: lodash is not in its budget of dependencies",
      "packages/lower/package.json: depends on tools, which is private and never published",
    ]);
  });

  test("a package without a place in the layers is refused", (t) => {
    const { packages } = workspace(t, { "packages/new/package.json": { name: "new" } });
    assert.equal(checkManifests(packages, LAYERS).length, 1);
  });

  test("tsconfig has to refer to what is depended on", (t) => {
    const { packages } = workspace(t, {
      "packages/upper/tsconfig.json": { references: [] },
      "packages/lower/tsconfig.json": {},
    });
    assert.deepEqual(checkReferences(packages), [
      "packages/upper/tsconfig.json: depends on lower and does not refer to packages/lower",
    ]);
    const fixed = workspace(t, { "packages/upper/tsconfig.json": { references: [{ path: "../lower" }] } });
    assert.deepEqual(checkReferences(fixed.packages), []);
  });
});

describe("imports", () => {
  test("own files, declared packages by their exports, and node: are fine", (t) => {
    const { root, packages } = workspace(t, {
      "packages/lower/src/index.ts": "export const a = 1;",
      "packages/upper/src/index.ts": `import "./own.ts"; \nimport "lower";\nimport "lower/kit";\nimport "node:fs";`,
      "packages/upper/src/own.ts": "",
      "packages/upper/test/a.test.ts": `import "../src/index.ts";\nimport "runner/sub";\nimport "upper";`,
    });
    assert.deepEqual(checkImports(packages, root), []);
  });

  test("a name of one's own file has to be among the imports", (t) => {
    const { root, packages } = workspace(t, {
      "packages/lower/src/index.ts": "",
      "packages/upper/bin/upper.js": `import("#main");\nimport("#other");`,
    });
    assert.deepEqual(checkImports(packages, root), [
      "packages/upper/bin/upper.js:2: #other is not among the imports of upper",
    ]);
  });

  test("a way into another package's inside is refused, by path or by name", (t) => {
    const { root, packages } = workspace(t, {
      "packages/lower/src/index.ts": "",
      "packages/upper/src/index.ts": `import "../../lower/src/index.ts";\nimport "lower/dist/index.js";`,
      "packages/upper/test/a.test.ts": `import "../../lower/src/index.ts";`,
    });
    assert.deepEqual(checkImports(packages, root), [
      "packages/upper/src/index.ts:1: reaches into another package: ../../lower/src/index.ts",
      "packages/upper/src/index.ts:2: lower/dist/index.js is not among the exports of lower",
      "packages/upper/test/a.test.ts:1: reaches into another package: ../../lower/src/index.ts",
    ]);
  });

  test("what is not declared, or only for development, is refused in src", (t) => {
    const { root, packages } = workspace(t, {
      "packages/upper/src/index.ts": `import "undeclared";\nimport "runner";\nimport "../test/helper.ts";\nimport "./gone.ts";\nimport "fs";`,
      "packages/upper/test/helper.ts": `import "undeclared";`,
    });
    assert.deepEqual(checkImports(packages, root), [
      "packages/upper/src/index.ts:1: imports undeclared, which is not among the dependencies of upper",
      "packages/upper/src/index.ts:2: imports runner, which is not among the dependencies of upper",
      "packages/upper/src/index.ts:3: src imports what is not shipped: ../test/helper.ts",
      "packages/upper/src/index.ts:4: no such file: ./gone.ts",
      "packages/upper/src/index.ts:5: write node:fs",
      "packages/upper/test/helper.ts:1: imports undeclared, which is not among the dependencies or devDependencies of upper",
    ]);
  });

  test("files that import each other in a circle are told, types included", (t) => {
    const { root, packages } = workspace(t, {
      "packages/lower/src/index.ts": `export { a } from "./a.ts";`,
      "packages/lower/src/a.ts": `import type { B } from "./b/b.ts";`,
      "packages/lower/src/b/b.ts": `import { a } from "../a.ts";`,
    });
    assert.deepEqual(checkFileCycles(packages, root), [
      "packages/lower: files import each other in a circle: src/a.ts → src/b/b.ts → src/a.ts",
    ]);
  });
});

describe("package-lock.json", () => {
  const LINKS = {
    "packages/lower": {},
    "node_modules/lower": { link: true, resolved: "packages/lower" },
    "node_modules/upper": { link: true, resolved: "packages/upper" },
    "node_modules/tools": { link: true, resolved: "packages/tools" },
  };

  test("links for internal packages, and decided install scripts, are fine", (t) => {
    const { root, packages } = workspace(t, {
      "package.json": { allowScripts: { koffi: false } },
      "package-lock.json": {
        packages: {
          ...LINKS,
          "node_modules/koffi": { resolved: "https://registry", hasInstallScript: true },
        },
      },
    });
    assert.deepEqual(checkLockFile(packages, root), []);
  });

  test("optional dependencies are locked beside or above the package, or told", (t) => {
    const { root, packages } = workspace(t, {
      "package-lock.json": {
        packages: {
          ...LINKS,
          "node_modules/tool": { optionalDependencies: { "tool-linux": "1", "tool-darwin": "1" } },
          "node_modules/tool-linux": {},
          "node_modules/a/node_modules/tool": {
            optionalDependencies: { "tool-linux": "2", "tool-win32": "2" },
          },
          "node_modules/a/node_modules/tool-win32": {},
        },
      },
    });
    assert.deepEqual(checkLockFile(packages, root), [
      "package-lock.json: node_modules/tool wants tool-darwin, which is not locked; choose a version that has it",
    ]);
  });

  test("an internal package from the registry, a missing link and an undecided install script are told", (t) => {
    const { root, packages } = workspace(t, {
      "package-lock.json": {
        packages: {
          "node_modules/lower": LINKS["node_modules/lower"],
          "node_modules/upper": LINKS["node_modules/upper"],
          "packages/upper/node_modules/lower": { resolved: "https://registry/lower.tgz" },
          "node_modules/evil": { resolved: "https://registry/evil.tgz", hasInstallScript: true },
        },
      },
    });
    assert.deepEqual(checkLockFile(packages, root), [
      "package-lock.json: tools is not linked to packages/tools; run npm install",
      "package-lock.json: packages/upper/node_modules/lower comes from https://registry/lower.tgz, not from packages/lower",
      "package-lock.json: node_modules/evil runs a script at install, and allowScripts does not mention it",
    ]);
  });
});

describe("the command", () => {
  const program = fileURLToPath(new URL("../src/check-graph.js", import.meta.url));

  test("exits 1 with every problem on stderr", (t) => {
    const { root } = workspace(t, {
      "package-lock.json": { packages: {} },
      "packages/upper/src/index.ts": `import "fs";`,
    });
    const { status, stderr } = spawnSync(process.execPath, [program, root], { encoding: "utf8" });
    assert.equal(status, 1);
    assert.match(stderr, /packages\/upper\/src\/index\.ts:1: write node:fs/u);
    assert.match(stderr, /check-graph: 3 packages, \d+ problems/u);
  });

  test("does not pass on a directory without packages", (t) => {
    const root = scratchWorkspace(t, { "package-lock.json": { packages: {} } });
    assert.equal(spawnSync(process.execPath, [program, root]).status, 1);
  });
});
