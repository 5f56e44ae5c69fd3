import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { promisify } from "node:util";

import { readWorkspace } from "./workspace.js";

/** @import { WorkspacePackage } from "./workspace.js" */

const execFileAsync = promisify(execFile);

/** @param {string} directory */
const holdsPinnedTools = (directory) => /[/\\]node_modules[/\\]/u.test(directory + "/");

/**
 * The environment of somebody who has nothing to do with this repository: its pinned tools are out of `PATH`, and
 * what `npm run` told its children is forgotten, apart from how to reach the registry.
 *
 * @returns {NodeJS.ProcessEnv}
 */
function consumerEnvironment() {
  const kept = Object.entries(process.env).filter(
    ([name]) =>
      name !== "INIT_CWD" &&
      name !== "NODE_OPTIONS" &&
      (!/^npm_/iu.test(name) || /^npm_config_(?:cache|registry|.*proxy|cafile|userconfig)$/iu.test(name)),
  );
  const path = (process.env["PATH"] ?? "")
    .split(delimiter)
    .filter((directory) => !holdsPinnedTools(directory));
  return { ...Object.fromEntries(kept), PATH: path.join(delimiter) };
}

/** @param {string} version `v20.20.2` or `20.19` @returns {[number, number]} */
function parseVersion(version) {
  const [major = 0, minor = 0] = version.replace(/^v/u, "").split(".").map(Number);
  return [major, minor];
}

/**
 * Whether a Node version is at least another, by major and minor.
 *
 * @param {string} version
 * @param {string} floor
 */
export function isAtLeast(version, floor) {
  const [major, minor] = parseVersion(version);
  const [floorMajor, floorMinor] = parseVersion(floor);
  return major > floorMajor || (major === floorMajor && minor >= floorMinor);
}

/**
 * The machine's own Node: the oldest one in `PATH`, outside every `node_modules`, that the libraries promise to run on.
 *
 * @param {string} floor As in `engines`: `20.19`.
 * @returns {{ path: string, version: string }}
 */
export function findOwnNode(floor) {
  const found = (consumerEnvironment()["PATH"] ?? "")
    .split(delimiter)
    .map((directory) => join(directory, process.platform === "win32" ? "node.exe" : "node"))
    .filter((path) => existsSync(path))
    .map((path) => ({ path, version: execFileSync(path, ["--version"], { encoding: "utf8" }).trim() }))
    .filter(({ version }) => isAtLeast(version, floor))
    .sort((a, b) => (isAtLeast(a.version, b.version) ? 1 : -1));
  const [oldest] = found;
  if (oldest === undefined) {
    throw new Error(
      `no Node of version ${floor} or later in PATH outside node_modules; install one to run this`,
    );
  }
  return oldest;
}

/**
 * Packs packages as `npm publish` would.
 *
 * @param {readonly WorkspacePackage[]} packages
 * @param {string} into
 * @returns {Promise<Map<string, string>>} Package name to tarball.
 */
export async function packAll(packages, into) {
  const tarballs = new Map();
  for (const { directory, manifest } of packages) {
    const { stdout } = await execFileAsync("npm", ["pack", "--json", "--pack-destination", into], {
      cwd: directory,
      env: consumerEnvironment(),
    });
    /** @type {unknown} */
    const report = JSON.parse(stdout);
    // npm 11 prints a list, npm 12 an object by package name.
    const [{ filename }] = Array.isArray(report) ? report : Object.values(Object(report));
    tarballs.set(manifest.name, join(into, filename));
  }
  return tarballs;
}

/**
 * Installs one packed package into an empty directory. What it depends on of this repository comes from its tarball as
 * well, and only that: another sibling that it uses without declaring it is not there.
 *
 * @param {object} options
 * @param {string} options.name
 * @param {ReadonlyMap<string, string>} options.tarballs
 * @param {string} options.directory Created.
 * @param {boolean} options.withOptional Whether optional dependencies are installed.
 */
export async function installAlone({ name, tarballs, directory, withOptional }) {
  const specifier = (/** @type {string} */ wanted) => `file:${tarballs.get(wanted)}`;
  const overrides = Object.fromEntries(
    [...tarballs.keys()]
      .filter((sibling) => sibling !== name)
      .map((sibling) => [sibling, specifier(sibling)]),
  );
  mkdirSync(directory, { recursive: true });
  const manifest = {
    name: "consumer",
    private: true,
    type: "module",
    dependencies: { [name]: specifier(name) },
    overrides,
  };
  writeFileSync(join(directory, "package.json"), JSON.stringify(manifest));
  const options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"];
  if (!withOptional) options.push("--omit=optional");
  await execFileAsync("npm", ["install", ...options], { cwd: directory, env: consumerEnvironment() });
}

/**
 * Names of the packages of this repository that an installed consumer has.
 *
 * @param {string} directory
 * @param {string} root
 */
export function installedSiblings(directory, root) {
  const names = new Set(readWorkspace(root).map(({ manifest }) => manifest.name));
  const modules = join(directory, "node_modules");
  return readdirSync(modules, { withFileTypes: true })
    .flatMap(({ name }) =>
      name.startsWith("@") ? readdirSync(join(modules, name)).map((inner) => `${name}/${inner}`) : [name],
    )
    .filter((name) => names.has(name))
    .sort();
}

/**
 * Type-checks a JavaScript program against the installed packages, as strictly as TypeScript can.
 *
 * @param {object} options
 * @param {string} options.directory The consumer's.
 * @param {string} options.program File name in it.
 * @param {string} options.root This repository, for TypeScript and the types of Node.
 */
export async function typeCheck({ directory, program, root }) {
  for (const name of ["@types/node", "undici-types"]) {
    const link = join(directory, "node_modules", name);
    if (existsSync(link)) continue;
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(root, "node_modules", name), link);
  }
  const compilerOptions = {
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    module: "nodenext",
    target: "es2023",
    lib: ["es2023"],
    types: ["node"],
    allowJs: true,
    checkJs: true,
    noEmit: true,
    // A declaration file that does not resolve on its own is what this looks for.
    skipLibCheck: false,
  };
  writeFileSync(join(directory, "tsconfig.json"), JSON.stringify({ compilerOptions, files: [program] }));
  const tsc = join(root, "node_modules", ".bin", "tsc");
  await execFileAsync(tsc, ["-p", directory]).catch((/** @type {{ stdout: string }} */ error) => {
    throw new Error(`the types of a consumer's program do not hold:\n${error.stdout}`);
  });
}

/**
 * Runs a program in a consumer's directory.
 *
 * @param {string} node
 * @param {readonly string[]} args
 * @param {string} directory
 * @returns {Promise<{ status: number, stdout: string, stderr: string }>}
 */
export function runNode(node, args, directory) {
  return new Promise((resolve, reject) => {
    const options = { cwd: directory, env: consumerEnvironment(), timeout: 60_000 };
    execFile(node, args, options, (error, stdout, stderr) => {
      const status = error === null ? 0 : error.code;
      if (typeof status === "number") resolve({ status, stdout, stderr });
      else reject(error);
    });
  });
}
