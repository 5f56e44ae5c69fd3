import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";

/**
 * @typedef {Record<string, string>} Ranges
 *
 * @typedef {object} Manifest The members of package.json that the checks read.
 * @property {string} name
 * @property {string} [version]
 * @property {boolean} [private]
 * @property {string} [type]
 * @property {string} [license]
 * @property {string} [description]
 * @property {string[]} [keywords]
 * @property {string[]} [files]
 * @property {boolean} [sideEffects]
 * @property {{ type?: string, url?: string, directory?: string }} [repository]
 * @property {{ node?: string }} [engines]
 * @property {{ access?: string, provenance?: boolean }} [publishConfig]
 * @property {Record<string, string>} [scripts]
 * @property {Record<string, string | Record<string, string>>} [exports]
 * @property {Record<string, string>} [imports]
 * @property {Record<string, string>} [bin]
 * @property {Ranges} [dependencies]
 * @property {Ranges} [optionalDependencies]
 * @property {Ranges} [peerDependencies]
 * @property {Ranges} [devDependencies]
 *
 * @typedef {object} WorkspacePackage
 * @property {string} folder Relative to the root, with forward slashes: `packages/hbitmap`.
 * @property {string} directory Absolute.
 * @property {Manifest} manifest
 */

/**
 * @param {string} path
 * @returns {any} Whatever the file holds; the callers say what they expect of it.
 */
export function readJson(path) {
  return JSON.parse(readFileSync(path, "utf8"));
}

/**
 * Every package below `packages/` and `apps/`, sorted by folder.
 *
 * @param {string} root
 * @returns {WorkspacePackage[]}
 */
export function readWorkspace(root) {
  return ["packages", "apps"]
    .flatMap((group) => {
      const directory = join(root, group);
      if (!existsSync(directory)) return [];
      return readdirSync(directory).map((name) => join(directory, name));
    })
    .filter((directory) => existsSync(join(directory, "package.json")))
    .map((directory) => ({
      folder: relative(root, directory).split(sep).join("/"),
      directory,
      manifest: readJson(join(directory, "package.json")),
    }))
    .sort((a, b) => (a.folder < b.folder ? -1 : 1));
}

/**
 * The packages that are published.
 *
 * @param {string} root
 * @returns {WorkspacePackage[]}
 */
export function readPublicPackages(root) {
  return readWorkspace(root).filter(({ manifest }) => manifest.private !== true);
}

/**
 * Every file below `directory`, absolute and sorted, without `node_modules` and build output.
 *
 * @param {string} directory
 * @param {RegExp} pattern Matched against the name.
 * @returns {string[]}
 */
export function listFiles(directory, pattern) {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) {
        return entry.name === "node_modules" || entry.name === "dist" ? [] : listFiles(path, pattern);
      }
      return pattern.test(entry.name) ? [path] : [];
    })
    .sort();
}
