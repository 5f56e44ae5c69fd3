// How every published package becomes JavaScript: one module per entry, so that a program which imports a package opens one
// file instead of a hundred (docs/decisions/0008). Types are not touched here: `tsc -b` checks and writes them.
// Read by `rolldown -c ../../rolldown.config.js` in the folder of a package.
import { existsSync, readFileSync, rmSync } from "node:fs";
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
 * Puts what every entry needs in one chunk, and in one for each driver what several of its parts need that are loaded when
 * they are used. Left alone, the bundler makes a file of each handful of modules that some other set of parts needs, and
 * opening a file costs a start more than reading it.
 * @type {import("rolldown").CodeSplittingNameFunction}
 */
function chunkOf(id, context) {
  if (entryFiles.has(id)) return null;
  const users = new Set([id]);
  for (const at of users)
    for (const importer of context.getModuleInfo(at)?.importers ?? []) users.add(importer);
  const entriesThatNeedIt = [...users].filter((at) => entryFiles.has(at)).length;
  if (entriesThatNeedIt === entryFiles.size && entryFiles.size > 1) return "core";
  if (entriesThatNeedIt > 0) return null;
  const parts = [...users].filter((at) => (context.getModuleInfo(at)?.dynamicImporters.length ?? 0) > 0);
  return parts.length < 2 ? null : (/[\\/]src[\\/]drivers[\\/](\w+)[\\/]/u.exec(id)?.[1] ?? null);
}

// Chunks of an older build have other names, and are not to be published.
rmSync("dist/chunks", { recursive: true, force: true });

const input = entries();
const entryFiles = new Set(Object.values(input).map((file) => resolve(file)));

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
    codeSplitting: { groups: [{ name: chunkOf, debugName: "core and drivers" }] },
    sourcemap: true,
    // The types carry the documentation, and source maps lead to the shipped sources: a runtime would read comments only to
    // skip them, at every start.
    comments: { legal: true, annotation: false, jsdoc: false },
  },
});
