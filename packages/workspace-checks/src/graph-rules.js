import { existsSync, readFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { dirname, join, relative, resolve, sep } from "node:path";

import { findCycles } from "./cycles.js";
import { findImports } from "./imports.js";
import { OPTIONAL_ONLY } from "./layers.js";
import { listFiles, readJson } from "./workspace.js";

/** @import { WorkspacePackage } from "./workspace.js" */
/** @typedef {Record<string, { internal: readonly string[], external: readonly string[] }>} Layers */

const SOURCE = /\.(?:[cm]?[jt]s|tsx)$/u;

/** @param {string} path @param {string} directory */
const isInside = (path, directory) => path === directory || path.startsWith(directory + sep);

/** @param {string} specifier `@scope/name/sub/path` or `name/sub/path` */
function packageName(specifier) {
  return specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
}

/** @param {WorkspacePackage["manifest"]} manifest */
const runtimeNames = (manifest) =>
  Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies, ...manifest.peerDependencies });

/**
 * Run-time dependencies that a package declares: only packages below it, only the externals of its budget.
 *
 * @param {readonly WorkspacePackage[]} packages
 * @param {Layers} layers
 * @returns {string[]} Problems, one line each.
 */
export function checkManifests(packages, layers) {
  const internalNames = new Set(packages.map(({ manifest }) => manifest.name));
  const privateNames = new Set(
    packages.filter(({ manifest }) => manifest.private).map(({ manifest }) => manifest.name),
  );
  return packages.flatMap(({ folder, manifest }) => {
    if (manifest.private === true) return [];
    const layer = layers[manifest.name];
    const file = `${folder}/package.json`;
    if (layer === undefined) {
      return [`${file}: ${manifest.name} has no place in packages/workspace-checks/src/layers.js`];
    }
    return runtimeNames(manifest).flatMap((name) => {
      if (privateNames.has(name))
        return [`${file}: depends on ${name}, which is private and never published`];
      if (internalNames.has(name)) {
        return layer.internal.includes(name) ? [] : [`${file}: depends on ${name}, which is not below it`];
      }
      if (!layer.external.includes(name)) return [`${file}: ${name} is not in its budget of dependencies`];
      if (OPTIONAL_ONLY.includes(name) && manifest.optionalDependencies?.[name] === undefined) {
        return [`${file}: ${name} has to be an optional dependency`];
      }
      return [];
    });
  });
}

/**
 * No circle between packages, development dependencies included: the build could not order them.
 *
 * @param {readonly WorkspacePackage[]} packages
 * @returns {string[]}
 */
export function checkPackageCycles(packages) {
  const names = new Set(packages.map(({ manifest }) => manifest.name));
  const edges = new Map(
    packages.map(({ manifest }) => [
      manifest.name,
      [...runtimeNames(manifest), ...Object.keys(manifest.devDependencies ?? {})].filter((name) =>
        names.has(name),
      ),
    ]),
  );
  return findCycles(edges).map((cycle) => `packages depend on each other in a circle: ${cycle.join(" → ")}`);
}

/**
 * The file a relative specifier means, as a source file: what is written is `./x.ts` (or `./x.js` in plain
 * JavaScript), so nothing is guessed.
 *
 * @param {string} fromFile
 * @param {string} specifier
 */
const relativeTarget = (fromFile, specifier) => resolve(dirname(fromFile), specifier);

/**
 * Imports of a package's own files, tests and fixtures: no way into another package but its exports, nothing that is
 * not declared, and in src nothing that is only there for development.
 *
 * @param {readonly WorkspacePackage[]} packages
 * @param {string} root
 * @returns {string[]}
 */
export function checkImports(packages, root) {
  const byName = new Map(packages.map((item) => [item.manifest.name, item]));
  return packages.flatMap(({ directory, manifest }) => {
    const source = join(directory, "src");
    const atRunTime = new Set([...runtimeNames(manifest), manifest.name]);
    const atAll = new Set([...atRunTime, ...Object.keys(manifest.devDependencies ?? {})]);
    const rootDevelopment = new Set(Object.keys(readJson(join(root, "package.json")).devDependencies ?? {}));

    return listFiles(directory, SOURCE).flatMap((file) => {
      const isSource = isInside(file, source);
      return findImports(readFileSync(file, "utf8")).flatMap(({ specifier, line }) => {
        const at = `${relative(root, file)}:${line}`;
        if (specifier.startsWith(".")) {
          const target = relativeTarget(file, specifier);
          if (!isInside(target, directory)) return [`${at}: reaches into another package: ${specifier}`];
          if (isSource && !isInside(target, source) && !specifier.endsWith("package.json")) {
            return [`${at}: src imports what is not shipped: ${specifier}`];
          }
          return existsSync(target) ? [] : [`${at}: no such file: ${specifier}`];
        }
        if (isBuiltin(specifier) || specifier.startsWith("node:")) {
          return specifier.startsWith("node:") ? [] : [`${at}: write node:${specifier}`];
        }
        // A package's name for one of its own files.
        if (specifier.startsWith("#")) {
          return manifest.imports?.[specifier] === undefined
            ? [`${at}: ${specifier} is not among the imports of ${manifest.name}`]
            : [];
        }
        const name = packageName(specifier);
        const internal = byName.get(name);
        if (
          internal !== undefined &&
          internal.manifest.exports?.[`.${specifier.slice(name.length)}`] === undefined
        ) {
          return [`${at}: ${specifier} is not among the exports of ${name}`];
        }
        const needed = isSource ? atRunTime : atAll;
        if (needed.has(name) || (!isSource && rootDevelopment.has(name))) return [];
        const kind = isSource ? "dependencies" : "dependencies or devDependencies";
        return [`${at}: imports ${name}, which is not among the ${kind} of ${manifest.name}`];
      });
    });
  });
}

/**
 * No circle between the files of one package, types included.
 *
 * @param {readonly WorkspacePackage[]} packages
 * @param {string} root
 * @returns {string[]}
 */
export function checkFileCycles(packages, root) {
  return packages.flatMap(({ directory }) => {
    const files = listFiles(join(directory, "src"), SOURCE);
    const edges = new Map(
      files.map((file) => [
        file,
        findImports(readFileSync(file, "utf8"))
          .filter(({ specifier }) => specifier.startsWith("."))
          .map(({ specifier }) => relativeTarget(file, specifier)),
      ]),
    );
    return findCycles(edges).map((cycle) => {
      const names = cycle.map((file) => relative(directory, file));
      return `${relative(root, directory)}: files import each other in a circle: ${names.join(" → ")}`;
    });
  });
}

/**
 * `tsc -b` builds what tsconfig refers to: every internal dependency, or it reads another package's stale types.
 *
 * @param {readonly WorkspacePackage[]} packages
 * @returns {string[]}
 */
export function checkReferences(packages) {
  const byName = new Map(packages.map((item) => [item.manifest.name, item]));
  return packages.flatMap(({ folder, directory, manifest }) => {
    const path = join(directory, "tsconfig.json");
    if (!existsSync(path)) return [];
    /** @type {{ references?: { path: string }[] }} */
    const { references = [] } = readJson(path);
    const referred = new Set(references.map((reference) => resolve(directory, reference.path)));
    return runtimeNames(manifest).flatMap((name) => {
      const dependency = byName.get(name);
      // A program has no types to be built first.
      if (dependency?.manifest.exports?.["."] === undefined || referred.has(dependency.directory)) return [];
      return [`${folder}/tsconfig.json: depends on ${name} and does not refer to ${dependency.folder}`];
    });
  });
}

/**
 * Whether the lock file holds a dependency where Node would look for it: beside the package or anywhere above.
 *
 * @param {Record<string, unknown>} locked
 * @param {string} path Of the package that depends on it.
 * @param {string} name
 * @returns {boolean}
 */
function isLocked(locked, path, name) {
  if (`${path}/node_modules/${name}` in locked) return true;
  const above = path.lastIndexOf("/node_modules/");
  return above < 0 ? `node_modules/${name}` in locked : isLocked(locked, path.slice(0, above), name);
}

/**
 * Internal packages come from this repository: npm quietly fetches one from the registry as soon as a range does not
 * fit. No dependency runs a script at install unless package.json has decided about it. And every optional dependency
 * is locked, those for other platforms too: one whose version was never published makes `npm ci` refuse everywhere.
 *
 * @param {readonly WorkspacePackage[]} packages
 * @param {string} root
 * @returns {string[]}
 */
export function checkLockFile(packages, root) {
  /** @type {{ packages: Record<string, { link?: boolean, resolved?: string, hasInstallScript?: boolean, optionalDependencies?: Record<string, string> }> }} */
  const lock = readJson(join(root, "package-lock.json"));
  /** @type {Record<string, boolean>} */
  const allowScripts = readJson(join(root, "package.json")).allowScripts ?? {};
  const folders = new Map(packages.map(({ folder, manifest }) => [manifest.name, folder]));
  const problems = [];
  for (const [name, folder] of folders) {
    if (lock.packages[`node_modules/${name}`]?.link !== true) {
      problems.push(`package-lock.json: ${name} is not linked to ${folder}; run npm install`);
    }
  }
  for (const [path, entry] of Object.entries(lock.packages)) {
    const name = path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);
    if (!path.includes("node_modules/")) continue;
    const folder = folders.get(name);
    if (folder !== undefined && entry.resolved !== folder) {
      problems.push(`package-lock.json: ${path} comes from ${entry.resolved}, not from ${folder}`);
    }
    if (entry.hasInstallScript === true && allowScripts[name] === undefined) {
      problems.push(
        `package-lock.json: ${path} runs a script at install, and allowScripts does not mention it`,
      );
    }
    for (const optional of Object.keys(entry.optionalDependencies ?? {})) {
      if (isLocked(lock.packages, path, optional)) continue;
      problems.push(
        `package-lock.json: ${path} wants ${optional}, which is not locked; choose a version that has it`,
      );
    }
  }
  return problems;
}
