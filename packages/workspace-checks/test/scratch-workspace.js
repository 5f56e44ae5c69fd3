import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

/**
 * Writes a small workspace and removes it after the test.
 *
 * @param {import("node:test").TestContext} context
 * @param {Record<string, string | object>} files Path to text, or to what becomes JSON.
 * @returns {string} Its root.
 */
export function scratchWorkspace(context, files) {
  const root = mkdtempSync(join(tmpdir(), "blockmirror-workspace-"));
  context.after(() => rmSync(root, { recursive: true, force: true }));
  for (const [path, content] of Object.entries({
    "package.json": { devDependencies: { runner: "1" } },
    ...files,
  })) {
    const absolute = join(root, path);
    mkdirSync(dirname(absolute), { recursive: true });
    writeFileSync(absolute, typeof content === "string" ? content : JSON.stringify(content));
  }
  return root;
}
