// How every published package becomes JavaScript: one module per entry, so that a program which imports a package opens one
// file instead of a hundred (docs/decisions/0008). Types are not touched here: `tsc -b` checks and writes them.
// Read by `rolldown -c ../../rolldown.config.js` in the folder of a package.
import { existsSync, readFileSync } from "node:fs";
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

export default defineConfig({
  input: entries(),
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
    sourcemap: true,
  },
});
