import { existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { BlockGraph, DriverRegistry } from "@blockmirror/block-driver";
import { nbdDriver } from "@blockmirror/nbd";
import { afterEach, beforeEach, expect, test } from "vitest";
import { appFile, nodePath, type PtyProgram, spawnInPty } from "../support/pty.ts";
import { scratchDirectory } from "./support/run-cli.ts";

const MIB = 2 ** 20;
let scratch: ReturnType<typeof scratchDirectory>;
let program: PtyProgram;

beforeEach(() => {
  scratch = scratchDirectory();
  writeFileSync(join(scratch.path, "a.raw"), randomBytes(4 * MIB));
});

afterEach(async () => {
  program.kill("SIGKILL");
  await program.exited();
  scratch.remove();
});

function run(...args: readonly string[]): PtyProgram {
  program = spawnInPty(nodePath, [appFile("bin", "blockmirror.js"), ...args], {
    cwd: scratch.path,
    env: { XDG_CONFIG_HOME: join(scratch.path, "config"), PAGER: PAGER },
  });
  return program;
}

/** Shows what it gets, waits for an answer from the keyboard, and passes it on, as a pager that has the terminal can, however late it reads. */
const PAGER = "cat; printf 'an answer: '; sleep 0.5; read answer </dev/tty; echo \"$answer\" >answer";

function writeKeys(text: string): void {
  mkdirSync(join(scratch.path, "config", "blockmirror"), { recursive: true });
  writeFileSync(join(scratch.path, "config", "blockmirror", "keys.json"), text);
}

function expectTerminalRestored(): void {
  expect(program.onAlternateScreen()).toBe(false);
  expect(program.written().lastIndexOf("\u001B[?25h")).toBeGreaterThan(
    program.written().lastIndexOf("\u001B[?25l"),
  );
}

test("mirror in a terminal shows the UI, and sums up on the main screen", async () => {
  run("mirror", "a.raw", "b.raw", "--when-ready", "complete");
  expect((await program.exited()).exitCode).toBe(0);
  expectTerminalRestored();
  expect(program.screen()).toMatch(/mirror0: completed, b\.raw is up to date/u);
  expect(readFileSync(join(scratch.path, "b.raw"))).toEqual(readFileSync(join(scratch.path, "a.raw")));
});

test("ctrl-c ends a slow mirror in order", async () => {
  run("mirror", "a.raw", "b.raw", "--speed", "256K");
  await program.waitFor("RUNNING");
  await program.takesKeys();
  program.press("ctrl+c");
  expect((await program.exited()).exitCode).toBe(130);
  expectTerminalRestored();
  // Once: both the summary and standard error are on this screen.
  expect(program.screen().split("b.raw is not a copy")).toHaveLength(2);
});

test.each(["SIGTERM", "SIGHUP"] as const)("%s gives the terminal back", async (signal) => {
  run("mirror", "a.raw", "b.raw", "--speed", "256K");
  await program.waitFor("RUNNING");
  program.kill(signal);
  expect((await program.exited()).exitCode).toBe(130);
  expectTerminalRestored();
});

test("without a command: an empty table; q leaves", async () => {
  run();
  await program.waitFor(/blockmirror/u);
  await program.waitFor("quit");
  await program.takesKeys();
  program.press("q");
  expect((await program.exited()).exitCode).toBe(0);
  expectTerminalRestored();
});

test("without a command: jobs that are left say on the terminal how they ended", async () => {
  run();
  await program.waitFor("n new");
  await program.takesKeys();
  program.press("n");
  await program.waitFor("New mirror");
  program.press("a.raw", "tab", "b.raw", "up", "up");
  await program.waitFor("> Start <");
  program.press("enter");
  await program.waitFor("READY");
  program.press("q");
  await program.waitFor("Quit?");
  program.press("y");
  expect((await program.exited()).exitCode).toBe(0);
  expectTerminalRestored();
  expect(program.screen()).toMatch(/mirror-a: completed, b\.raw is up to date; 4\.00 MiB copied/u);
});

test("serve shows exports and clients, and a mirror of what it serves leads them to the copy", async () => {
  run("serve", "a.raw", "--listen", `nbd+unix:///disk?socket=${join(scratch.path, "n.sock")}`);
  await program.waitFor("1 export, no clients");
  await program.waitFor("nbd+unix:///disk?socket=");
  const graph = new BlockGraph({ registry: new DriverRegistry().register(nbdDriver) });
  try {
    const uri = `nbd+unix:///disk?socket=${join(scratch.path, "n.sock")}`;
    const node = await graph.open({ driver: "nbd", uri, connections: 1 });
    const client = graph.attach(node, { name: "client", uses: ["read", "write"], shares: ["read"] });
    await program.waitFor("1 export, 1 client");
    while (!/#1 .*[MG]iB\/s/u.test(program.screen())) await client.write(MIB, [Buffer.alloc(MIB, 7)]);
    program.press("n");
    await program.waitFor("New mirror");
    program.press("a.raw", "tab", "b.raw", "up", "up");
    await program.waitFor("> Start <");
    program.press("enter");
    await program.waitFor("READY");
    program.press("c");
    await program.waitFor("Complete");
    program.press("y");
    await program.waitFor("DONE");
    await client.write(2 * MIB, [Buffer.alloc(MIB, 9)]);
    await client.flush();
  } finally {
    await graph.closeAll();
  }
  await program.waitFor("no clients");
  program.press("q");
  expect((await program.exited()).exitCode).toBe(0);
  expectTerminalRestored();
  const [source, copy] = ["a.raw", "b.raw"].map((name) => readFileSync(join(scratch.path, name)));
  expect(copy?.subarray(MIB, 3 * MIB)).toEqual(Buffer.concat([Buffer.alloc(MIB, 7), Buffer.alloc(MIB, 9)]));
  expect(source?.subarray(0, 2 * MIB)).toEqual(copy?.subarray(0, 2 * MIB));
  expect(source?.subarray(2 * MIB, 3 * MIB)).not.toEqual(Buffer.alloc(MIB, 9));
});

test("--output plain in a terminal writes lines", async () => {
  truncateSync(join(scratch.path, "a.raw"), MIB);
  run("mirror", "a.raw", "b.raw", "--output", "plain");
  expect((await program.exited()).exitCode).toBe(0);
  expect(program.written()).not.toContain("\u001B[?1049h");
  expect(program.screen()).toContain("completed, b.raw is up to date");
});

test("v lends the terminal to $PAGER, with its keys and its ctrl-c, and takes it back", async () => {
  run("mirror", "a.raw", "b.raw", "--speed", "256K");
  await program.waitFor("RUNNING");
  await program.takesKeys();
  program.press("p");
  await program.waitFor("PAUSED");
  program.press("v");
  await program.waitFor("an answer:");
  expect(program.onAlternateScreen()).toBe(false);
  expect(program.screen()).toMatch(/limit +256 KiB\/s[^]*EVENTS[^]*now paused/u);
  program.press("42", "enter");
  await program.waitFor("PROGRESS");
  await program.takesKeys();
  expect(program.onAlternateScreen()).toBe(true);
  expect(readFileSync(join(scratch.path, "answer"), "utf8")).toBe("42\n");
  program.press("v");
  await program.waitFor("an answer:");
  program.press("ctrl+c");
  await program.waitFor(/mirror0 +PAUSED/u);
  expect(program.onAlternateScreen()).toBe(true);
});

test("keys of the user's own work, and the help and the hints say them", async () => {
  writeKeys('{"quit": "Q", "limit": "L", "filter": []}');
  run();
  await program.waitFor("Q quit");
  await program.takesKeys();
  expect(program.screen()).toMatch(/L limit/u);
  program.press("q", "?");
  await program.waitFor("Keys");
  program.press("\u001B[6~", "\u001B[6~", "\u001B[6~", "\u001B[6~");
  await program.waitFor(/keys +.*keys\.json/u);
  program.press("escape");
  await program.waitForGone("Keys");
  program.press("Q");
  expect((await program.exited()).exitCode).toBe(0);
});

test("a key file that cannot be used is refused before anything is touched", async () => {
  writeKeys('{"pause": "x"}');
  run("mirror", "a.raw", "b.raw");
  expect((await program.exited()).exitCode).toBe(2);
  expect(program.screen().replaceAll("\n", "")).toMatch(/keys\.json: "x" would mean both pause and cancel/u);
  expect(existsSync(join(scratch.path, "b.raw"))).toBe(false);
});
