// How every published package becomes JavaScript: one module per entry, so that a program which imports a package opens one
// file instead of a hundred (docs/decisions/0008). Types are not touched here: `tsc -b` checks and writes them.
// Read by `rolldown -c ../../rolldown.config.js` in the folder of a package.
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { defineConfig } from "rolldown";

/** What is loaded from outside (`exports`) or by the package's own programs (`imports`), by the path below `dist`. */
function entries() {
  /** @type {{ exports?: Record<string, string | { default: string }>, imports?: Record<string, string> }} */
  const manifest = JSON.parse(readFileSync("package.json", "utf8"));
  const targets = [...Object.values(manifest.exports ?? {}), ...Object.values(manifest.imports ?? {})];
  return Object.fromEntries(
    targets
      .map(
        (target) => /^\.\/dist\/(.*)\.js$/u.exec(typeof target === "string" ? target : target.default)?.[1],
      )
      .filter((name) => name !== undefined)
      .map((name) => [name, existsSync(`src/${name}.ts`) ? `src/${name}.ts` : `src/${name}.tsx`]),
  );
}

/**
 * Puts what every entry needs in one chunk. Left alone, the bundler makes a file of each handful of modules that some part
 * which is loaded later needs as well, and opening a file costs a start more than reading it.
 * @type {import("rolldown").CodeSplittingNameFunction}
 */
function chunkOf(id, context) {
  if (entryCount < 2) return null;
  const reached = new Set([id]);
  for (const at of reached)
    for (const importer of context.getModuleInfo(at)?.importers ?? []) reached.add(importer);
  const isNeededBy = [...reached].filter((at) => entryFiles.has(at)).length;
  return isNeededBy === entryCount && !entryFiles.has(id) ? "core" : null;
}

const input = entries();
const entryFiles = new Set(Object.values(input).map((file) => resolve(file)));
const entryCount = entryFiles.size;

export default defineConfig({
  input,
  platform: "node",
  // Other packages stay imports, our own as well: each is published, and loaded once, under its own name. Only the few
  // lines that stand for syntax newer than the target (`using`) are taken in.
  external: /^(?!@oxc-project\/runtime\/)[@#\w]/u,
  // What the oldest supported Node can run, as `target` of tsconfig.base.json says.
  transform: { target: "es2023", jsx: { runtime: "automatic" } },
  output: {
    dir: "dist",
    entryFileNames: "[name].js",
    chunkFileNames: "chunks/[name].js",
    codeSplitting: { groups: [{ name: chunkOf, debugName: "core" }] },
    sourcemap: true,
  },
});
