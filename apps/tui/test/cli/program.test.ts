import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { appFile } from "../support/pty.ts";
import { runCli } from "./support/run-cli.ts";

const LOG_MODULES = new URL("./support/log-modules.js", import.meta.url).href;

/** Paths of the modules that a command loads. */
async function modulesOf(args: readonly string[]): Promise<readonly string[]> {
  const { stderr } = await runCli(args, { nodeArguments: ["--import", LOG_MODULES] });
  return stderr.split("\n").filter((line) => line.startsWith("loads "));
}

test.each(["--version", "-V"])(
  "%s tells the version and loads neither UI nor option parser",
  async (option) => {
    const { status, stdout } = await runCli([option]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^blockmirror \d+\.\d+\.\d+\n$/u);
    const modules = await modulesOf([option]);
    expect(modules.some((line) => line.includes("dist/main.js"))).toBe(true);
    expect(modules.filter((line) => /node_modules|packages\//u.test(line))).toEqual([]);
  },
);

test("the help loads no UI", async () => {
  const modules = await modulesOf(["--help"]);
  expect(modules.some((line) => line.includes("/commander/"))).toBe(true);
  expect(modules.filter((line) => /\/(?:ink|react|yoga-layout)\//u.test(line))).toEqual([]);
});

test("looking at an image loads no job, no network and no UI", async () => {
  const modules = await modulesOf(["info", "/nonexistent/image"]);
  expect(modules.some((line) => line.includes("/block-driver/"))).toBe(true);
  const foreign =
    /node:(?:tls|crypto|zlib|net)$|packages\/(?:nbd|qmp|storage-daemon)\/|\/(?:ink|react|string-width)\//u;
  expect(modules.filter((line) => foreign.test(line))).toEqual([]);
});

test("the storage daemon loads neither option parser nor UI", async () => {
  const modules = await modulesOf(["storage-daemon", "--version"]);
  expect(modules.some((line) => line.includes("/storage-daemon/"))).toBe(true);
  expect(modules.filter((line) => /\/(?:commander|ink|react|string-width)\//u.test(line))).toEqual([]);
});

test.each([["--help"], ["help"], ["mirror", "--help"], ["help", "mirror"], ["demo", "-h"]])(
  "%s %s prints help on standard output",
  async (...args) => {
    const { status, stdout, stderr } = await runCli(args.filter((word) => word !== undefined));
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/^Usage: blockmirror/u);
  },
);

test.each([
  [["mirro", "a", "b"], 2, "there is no command 'mirro'; did you mean mirror?"],
  [["help", "atach"], 2, "there is no command 'atach'; did you mean attach?"],
  [["teleport"], 2, "there is no command 'teleport'; see blockmirror --help for those there are"],
  [["help", "teleport"], 2, "there is no command 'teleport'; see blockmirror --help for those there are"],
  [
    ["mirror", "a", "b", "c"],
    2,
    "too many arguments for 'mirror'. Expected 2 arguments but got 3: a, b, c; see blockmirror mirror --help",
  ],
  [["info", "/nonexistent/a"], 1, "/nonexistent/a does not exist; check the path"],
  [["map", "/nonexistent/a"], 1, "/nonexistent/a does not exist; check the path"],
  [["compare", "/nonexistent/a", "/nonexistent/b"], 1, "/nonexistent/a does not exist; check the path"],
  [
    ["attach", "/nonexistent/a.qmp"],
    1,
    "/nonexistent/a.qmp: there is no such socket; check the path, and whether the server runs",
  ],
  [
    ["attach", appFile("package.json")],
    1,
    `${appFile("package.json")}: nobody listens there; start the server, or correct the address`,
  ],
] as const)("%j is refused in one line that says what to do", async (args, status, message) => {
  expect(await runCli(args)).toMatchObject({ status, stdout: "", stderr: `blockmirror: ${message}\n` });
});

const OLD_NODE = "/usr/bin/node";

function isOld(): boolean {
  if (!existsSync(OLD_NODE)) return false;
  const [major = 0] = execFileSync(OLD_NODE, ["-p", "process.versions.node"])
    .toString()
    .split(".")
    .map(Number);
  return major < 22;
}

if (!isOld()) console.warn(`SKIPPED: ${OLD_NODE} is no Node.js older than 22`);

test.skipIf(!isOld())("an old Node.js is told which one is needed", async () => {
  const result = await runCli([], {
    through: ["sh", "-c", `exec ${OLD_NODE} ${appFile("bin", "blockmirror.js")} demo`],
  });
  expect(result).toMatchObject({ status: 1, stdout: "" });
  expect(result.stderr).toMatch(/^blockmirror: needs Node\.js 22\.12 or newer, this is [\d.]+; [^\n]+\n$/u);
});
