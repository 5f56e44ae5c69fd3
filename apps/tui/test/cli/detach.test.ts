import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { QmpClient, parseQmpAddress } from "@blockmirror/qmp";
import { afterEach, beforeEach, expect, test } from "vitest";
import { runCli, scratchDirectory, startCli, type CliResult } from "./support/run-cli.ts";

const MIB = 2 ** 20;

/** So slow that a job does not end before a test has done with it, however busy the machine is. */
const SLOW = ["--speed", "64K"];

let scratch: ReturnType<typeof scratchDirectory>;
let source: string;
let target: string;
const daemons = new Set<number>();

beforeEach(() => {
  scratch = scratchDirectory();
  source = path.join(scratch.path, "a.raw");
  target = path.join(scratch.path, "b.raw");
  writeFileSync(source, Buffer.alloc(8 * MIB, 0x5a));
});

afterEach(async () => {
  for (const pid of daemons) {
    if (isAlive(pid)) process.kill(pid, "SIGKILL");
    await untilDead(pid);
  }
  daemons.clear();
  scratch.remove();
});

/** Runs the program with runtime and state directories of the test's own. */
function run(...args: readonly string[]): Promise<CliResult> {
  return runCli(args, { env: environment() });
}

function environment(): Readonly<Record<string, string>> {
  return {
    XDG_RUNTIME_DIR: path.join(scratch.path, "run"),
    XDG_STATE_HOME: path.join(scratch.path, "state"),
  };
}

interface Detached {
  readonly pid: number;
  readonly socket: string;
  readonly log: string;
}

/** Starts a job in the background. */
async function detach(...options: readonly string[]): Promise<Detached> {
  const args = ["mirror", "a.raw", "b.raw", "--detach", "--output", "json", ...options];
  const { status, stdout, stderr } = await runCli(args, { cwd: scratch.path, env: environment() });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  const event: { readonly event: string; readonly data: Detached } = JSON.parse(stdout);
  expect(event.event).toBe("DETACHED");
  daemons.add(event.data.pid);
  return event.data;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Polls: the process is nobody's child here, so that nothing tells of its end. */
async function untilDead(pid: number): Promise<void> {
  for (let attempt = 0; isAlive(pid); attempt += 1) {
    if (attempt > 1500) throw new Error(`process ${pid} does not end`);
    await wait(20);
  }
}

test("the job goes on after its command has ended, and ends by itself", async () => {
  const { pid, socket, log } = await detach("--speed", "16M");
  await untilDead(pid);
  expect(readFileSync(target).equals(readFileSync(source))).toBe(true);
  expect(existsSync(socket)).toBe(false);
  expect(readFileSync(log, "utf8")).toContain('"event":"BLOCK_JOB_COMPLETED"');
  const { status, stdout } = await run("attach");
  expect(status).toBe(0);
  expect(stdout).toMatch(/mirror0: completed, \/.*b\.raw is up to date; 8\.00 MiB copied/u);
});

test("attach without a socket finds it, follows it to its end and tells how it went", async () => {
  const { socket } = await detach(...SLOW);
  const cli = startCli(["attach", "--output", "json", "--interval", "0.2"], { env: environment() });
  await cli.saw('"event":"PROGRESS"');
  const client = await QmpClient.connect(parseQmpAddress(socket));
  await client.executeUntyped("block-job-set-speed", { device: "mirror0", speed: 0 });
  await client.close();
  const { status, stdout } = await cli.ended;
  expect(status).toBe(0);
  expect(stdout).toContain('"event":"BLOCK_JOB_COMPLETED"');
});

test("it is steered by its socket, and stays for as long as somebody is attached", async () => {
  const { pid, socket } = await detach(...SLOW);
  const client = await QmpClient.connect(parseQmpAddress(socket));
  const jobs = await client.executeUntyped("query-block-jobs");
  expect(jobs).toMatchObject([{ device: "mirror0", speed: 64 * 1024, status: "running" }]);
  await client.executeUntyped("block-job-set-speed", { device: "mirror0", speed: 0 });
  for (let status = ""; status !== "concluded";) {
    const found: unknown = await client.executeUntyped("query-jobs");
    status = /"status":"([a-z]+)"/u.exec(JSON.stringify(found))?.[1] ?? "";
    await wait(20);
  }
  expect(isAlive(pid)).toBe(true);
  await client.close();
  await untilDead(pid);
});

test("a signal cancels it in order, and the outcome says so", async () => {
  const { pid } = await detach(...SLOW);
  process.kill(pid, "SIGTERM");
  await untilDead(pid);
  const { stdout } = await run("attach", "--ended");
  expect(stdout).toMatch(/mirror0: cancelled, .*b\.raw is not a copy/u);
});

test("one that was killed is told as lost, and its socket is taken away", async () => {
  const { pid, socket } = await detach(...SLOW);
  process.kill(pid, "SIGKILL");
  await untilDead(pid);
  expect(existsSync(socket)).toBe(true);
  const { stdout } = await run("attach");
  expect(stdout).toMatch(/mirror0: lost: .*take .*b\.raw for no copy/u);
  expect(existsSync(socket)).toBe(false);
});

test("a refusal is told at once, as in the foreground, and leaves nothing behind", async () => {
  writeFileSync(target, "precious");
  const { status, stdout, stderr } = await run("mirror", source, target, "--detach");
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  expect(stderr).toMatch(/^blockmirror: target .*b\.raw exists; give --existing/u);
  expect(readFileSync(target, "utf8")).toBe("precious");
  expect(readdirSync(path.join(scratch.path, "state/blockmirror/jobs"))).toEqual([]);
  expect(readdirSync(path.join(scratch.path, "run/blockmirror"))).toEqual([]);
});

test("it cannot show a terminal UI", async () => {
  const { status, stderr } = await run("mirror", source, target, "--detach", "--output", "tui");
  expect(status).toBe(2);
  expect(stderr).toMatch(/--detach shows nothing/u);
});

test("attach ends with the job although its output is a pipe, and passes on how it ended", async () => {
  const { pid } = await detach(...SLOW);
  const cli = startCli(["attach", "--output", "json", "--interval", "0.2"], { env: environment() });
  await cli.saw('"event":"PROGRESS"');
  process.kill(pid, "SIGTERM");
  const { status, stdout } = await cli.ended;
  expect(stdout).toContain("BLOCK_JOB_CANCELLED");
  expect(status).toBe(130);
});
