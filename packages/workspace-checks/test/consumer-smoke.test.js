// Every published package, packed and installed alone into an empty directory, used by a small program on the
// machine's own Node: proves the Node floor, the exports, the types, `require()` and that nothing undeclared is needed.
import assert from "node:assert/strict";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import {
  findOwnNode,
  installAlone,
  installedSiblings,
  isAtLeast,
  packAll,
  runNode,
  typeCheck,
} from "../src/consumer-smoke.js";
import { LAYERS } from "../src/layers.js";
import { readPublicPackages } from "../src/workspace.js";

const LIBRARY_FLOOR = "20.19";
const APP_FLOOR = "22.12";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const fixtures = fileURLToPath(new URL("../fixtures", import.meta.url));
const packages = readPublicPackages(root);
const libraries = packages.filter(({ folder }) => folder.startsWith("packages/"));
const own = findOwnNode(LIBRARY_FLOOR);
console.log(`consumer smoke: ${own.path} is ${own.version}; the pinned one is ${process.version}`);
if (isAtLeast(own.version, APP_FLOOR)) {
  console.log(
    `consumer smoke: NOT PROVEN HERE: Node ${LIBRARY_FLOOR}; the oldest Node on this machine is ${own.version}`,
  );
}

/** @type {string} */
let scratch;
/** @type {Map<string, string>} */
let tarballs;

before(async () => {
  scratch = mkdtempSync(join(tmpdir(), "blockmirror-consumer-"));
  const packed = join(scratch, "tarballs");
  mkdirSync(packed);
  tarballs = await packAll(packages, packed);
});

after(() => rmSync(scratch, { recursive: true, force: true }));

/**
 * What a package may bring of this repository: what it depends on, and what that depends on.
 *
 * @param {string} name
 * @returns {Set<string>}
 */
function closure(name) {
  const found = new Set([name]);
  for (const next of found) {
    const manifest = packages.find((item) => item.manifest.name === next)?.manifest;
    for (const dependency of Object.keys(manifest?.dependencies ?? {})) {
      if (dependency in LAYERS) found.add(dependency);
    }
  }
  return found;
}

/**
 * @param {import("../src/workspace.js").WorkspacePackage} item
 * @param {boolean} withOptional
 */
async function proveLibrary({ folder, manifest }, withOptional) {
  const directory = join(
    scratch,
    `${folder.replace("packages/", "")}${withOptional ? "-with-optional" : ""}`,
  );
  await installAlone({ name: manifest.name, tarballs, directory, withOptional });
  assert.deepEqual(installedSiblings(directory, root), [...closure(manifest.name)].sort());
  for (const optional of Object.keys(manifest.optionalDependencies ?? {})) {
    assert.equal(
      existsSync(join(directory, "node_modules", optional)),
      withOptional,
      `${optional} installed`,
    );
  }

  for (const subpath of Object.keys(manifest.exports ?? {})) {
    if (subpath === "./package.json") continue;
    const specifier = JSON.stringify(manifest.name + subpath.slice(1));
    const script = `const assert = require("node:assert/strict");
      const required = require(${specifier});
      import(${specifier}).then((imported) => {
        assert.deepEqual(Object.keys(required), Object.keys(imported));
        assert.notEqual(Object.keys(imported).length, 0);
      });`;
    const { status, stderr } = await runNode(own.path, ["--input-type=commonjs", "-e", script], directory);
    assert.equal(status, 0, `${specifier}: ${stderr}`);
  }

  const program = folder.replace("packages/", "") + ".mjs";
  copyFileSync(join(fixtures, program), join(directory, program));
  const { status, stdout, stderr } = await runNode(own.path, [program], directory);
  assert.equal(status, 0, stderr);
  // The program's own last word, so that one that ends early, waiting for nothing, does not pass.
  assert.match(stdout, /^done$/mu);
  await typeCheck({ directory, program, root });
}

describe(`each package alone on Node ${own.version}`, { concurrency: 2 }, () => {
  for (const item of libraries) {
    test(item.manifest.name, () => proveLibrary(item, false));
    if (item.manifest.optionalDependencies !== undefined) {
      test(`${item.manifest.name} with its optional dependencies`, () => proveLibrary(item, true));
    }
  }
});

describe("the packed program", () => {
  const app = packages.find(({ folder }) => folder.startsWith("apps/"));
  assert.ok(app !== undefined, "there is an app");
  const { name, version, bin } = app.manifest;

  test(`starts on Node ${process.version}, and says in one line what it needs on an older one`, async () => {
    const directory = join(scratch, "app");
    await installAlone({ name, tarballs, directory, withOptional: false });
    const program = join(directory, "node_modules", name, String(bin?.["blockmirror"]));

    const pinned = await runNode(process.execPath, [program, "--version"], directory);
    assert.deepEqual(pinned, { status: 0, stdout: `${name} ${version}\n`, stderr: "" });

    const older = await runNode(own.path, [program, "--version"], directory);
    if (isAtLeast(own.version, APP_FLOOR)) {
      assert.equal(older.status, 0, older.stderr);
      return;
    }
    assert.notEqual(older.status, 0);
    assert.equal(older.stdout, "");
    assert.match(older.stderr, /^[^\n]*22\.12[^\n]*\n$/u);
    assert.ok(older.stderr.includes(own.version.slice(1)), "names the version that is too old");
  });
});
