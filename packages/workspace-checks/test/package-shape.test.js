// What every package has in common, so that none is published half-dressed.
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";

import { readWorkspace } from "../src/workspace.js";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const REPOSITORY = "git+https://github.com/blockmirror/blockmirror.git";
const ENGINES = { packages: ">=20.19", apps: ">=22.12" };

const all = readWorkspace(root);
const published = all.filter(({ manifest }) => manifest.private !== true);

/** @param {Record<string, string | Record<string, string>>} exports_ @returns {string[]} */
const exportedFiles = (exports_) =>
  Object.values(exports_).flatMap((target) =>
    typeof target === "string" ? [target] : Object.values(target),
  );

test("the workspace has packages and an app", () => {
  assert.ok(published.some(({ folder }) => folder.startsWith("packages/")));
  assert.ok(published.some(({ folder }) => folder.startsWith("apps/")));
});

for (const { folder, directory, manifest } of all) {
  test(`${folder} has a README that begins with its name, and says what it is`, () => {
    const readme = join(directory, "README.md");
    assert.ok(existsSync(readme), `${folder}/README.md is missing`);
    const [firstLine] = readFileSync(readme, "utf8").split("\n");
    assert.equal(firstLine, `# ${manifest.name}`);
    assert.ok((manifest.description ?? "").length > 20);
    assert.equal(manifest.license, "MIT");
    assert.equal(manifest.type, "module");
  });

  test(`${folder} exports only files that the build makes`, () => {
    for (const file of exportedFiles(manifest.exports ?? {})) {
      const path = join(directory, file);
      assert.ok(
        existsSync(path) && statSync(path).isFile(),
        `${folder}/package.json exports ${file}: no such file`,
      );
    }
    for (const file of Object.values(manifest.bin ?? {})) {
      const path = join(directory, file);
      assert.ok(existsSync(path), `${folder}/package.json has the program ${file}: no such file`);
      assert.match(readFileSync(path, "utf8"), /^#!\/usr\/bin\/env node\n/u);
      assert.notEqual(statSync(path).mode & 0o111, 0, `${folder}/${file} is not executable`);
    }
  });
}

for (const { folder, directory, manifest } of published) {
  const isApp = folder.startsWith("apps/");

  describe(`${folder} is ready to be published`, () => {
    test("where it comes from and where it goes", () => {
      assert.deepEqual(manifest.repository, { type: "git", url: REPOSITORY, directory: folder });
      assert.deepEqual(manifest.publishConfig, { access: "public", provenance: true });
      assert.ok((manifest.keywords ?? []).length >= 3);
    });

    test("what it holds", () => {
      assert.deepEqual(manifest.files, [...(isApp ? ["bin"] : []), "dist", "src", "CHANGELOG.md"]);
      assert.equal(manifest.exports?.["./package.json"], "./package.json");
      for (const [subpath, target] of Object.entries(manifest.exports ?? {})) {
        if (subpath === "./package.json") continue;
        assert.deepEqual(Object.keys(target), ["types", "default"], `conditions of ${subpath}`);
      }
      if (!isApp) assert.ok(manifest.exports?.["."] !== undefined);
    });

    if (!isApp) {
      // One character beyond Latin-1 makes a runtime read, keep and compile the whole module with two bytes a character.
      test("what it loads quickly: plain ASCII", () => {
        const dist = join(directory, "dist");
        const modules = readdirSync(dist, { recursive: true, encoding: "utf8" }).filter((name) =>
          name.endsWith(".js"),
        );
        assert.ok(modules.length > 0);
        for (const name of modules) {
          const found = /^.*[^\t\r\n -~].*$/mu.exec(readFileSync(join(dist, name), "utf8"));
          assert.equal(found, null, `${folder}/dist/${name}: ${String(found?.[0])}`);
        }
      });
    }

    test("what it promises", () => {
      assert.equal(manifest.engines?.node, isApp ? ENGINES.apps : ENGINES.packages);
      assert.equal(manifest.sideEffects, false);
      for (const hook of ["preinstall", "install", "postinstall", "prepare"]) {
        assert.equal(manifest.scripts?.[hook], undefined, `no ${hook} script in ${folder}`);
      }
    });
  });
}
