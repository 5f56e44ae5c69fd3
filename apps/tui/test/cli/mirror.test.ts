import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  openSync,
  closeSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { runCli, scratchDirectory, startCli } from "./support/run-cli.ts";

const MIB = 2 ** 20;
let scratch: ReturnType<typeof scratchDirectory>;
let root: string;

beforeEach(() => {
  scratch = scratchDirectory();
  root = scratch.path;
});

afterEach(() => {
  scratch.remove();
});

function file(name: string): string {
  return join(root, name);
}

function identical(left = "a.raw", right = "b.raw"): boolean {
  return readFileSync(file(left)).equals(readFileSync(file(right)));
}

interface JsonEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly timestamp: { readonly seconds: number; readonly microseconds: number };
}

/** Every line, checked to be one event in QMP's shape. */
function events(stdout: string): readonly JsonEvent[] {
  expect(stdout.endsWith("\n")).toBe(true);
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => {
      const parsed: JsonEvent = JSON.parse(line);
      expect(Object.keys(parsed)).toEqual(["event", "data", "timestamp"]);
      expect(Number.isSafeInteger(parsed.timestamp.seconds)).toBe(true);
      expect(parsed.timestamp.microseconds).toBeGreaterThanOrEqual(0);
      expect(parsed.timestamp.microseconds).toBeLessThan(1_000_000);
      return parsed;
    });
}

describe("a mirror to its end", () => {
  test.each([0, 1, 512, 512 * 7 + 1, 3 * MIB + 12_345])("of %i bytes", async (size) => {
    writeFileSync(file("a.raw"), randomBytes(size));
    const { status, stdout, stderr } = await runCli(["mirror", "a.raw", "b.raw"], { cwd: root });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/completed, b\.raw is up to date/u);
    expect(identical()).toBe(true);
  });

  test("a source that was written in full has a sparse copy where zeroes are looked for", async () => {
    const content = Buffer.alloc(8 * MIB);
    content.fill(7, 3 * MIB, 3 * MIB + 64 * 1024);
    content.fill(8, 5 * MIB + 1, 5 * MIB + 2);
    writeFileSync(file("a.raw"), content);
    await runCli(["mirror", "a.raw", "b.raw", "--detect-zeroes"], { cwd: root });
    expect(identical()).toBe(true);
    expect(statSync(file("a.raw")).blocks * 512).toBeGreaterThanOrEqual(8 * MIB);
    expect(statSync(file("b.raw")).blocks * 512).toBeLessThanOrEqual(256 * 1024);
  });

  test("overwrites all of an existing target, and keeps holes holes", async () => {
    writeFileSync(file("a.raw"), randomBytes(MIB));
    truncateSync(file("a.raw"), 16 * MIB);
    writeFileSync(file("b.raw"), Buffer.alloc(16 * MIB, 0xff));
    const { status, stdout } = await runCli(["mirror", "a.raw", "b.raw", "--existing"], { cwd: root });
    expect(status).toBe(0);
    expect(identical()).toBe(true);
    expect(stdout).toMatch(/1\.00 MiB copied/u);
  });

  test("says what it did: amount, skipped, time, average rate", async () => {
    writeFileSync(file("a.raw"), randomBytes(MIB));
    truncateSync(file("a.raw"), 8 * MIB);
    const { stdout } = await runCli(["mirror", "a.raw", "b.raw"], { cwd: root });
    expect(stdout.trimEnd().split("\n").at(-1)).toMatch(
      /^\d\d:\d\d:\d\d mirror0: completed, b\.raw is up to date; 1\.00 MiB copied, 7\.00 MiB skipped, in \d+\.\ds, .* on average$/u,
    );
  });

  test("one QMP-shaped event per line, in order, with progress, and nothing else", async () => {
    writeFileSync(file("a.raw"), randomBytes(3 * MIB));
    const { status, stdout, stderr } = await runCli(
      ["mirror", "a.raw", "b.raw", "--output", "json", "--speed", "4M", "--interval", "0.1", "--job-id", "j"],
      { cwd: root },
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const all = events(stdout);
    const statuses = all
      .filter(({ event }) => event === "JOB_STATUS_CHANGE")
      .map(({ data }) => data["status"]);
    expect(statuses).toEqual(["created", "running", "ready", "waiting", "pending", "concluded", "null"]);
    expect(all.map(({ event }) => event)).toContain("BLOCK_JOB_READY");
    const done = all.find(({ event }) => event === "BLOCK_JOB_COMPLETED");
    expect(done?.data).toEqual({
      type: "mirror",
      device: "j",
      len: 3 * MIB,
      offset: 3 * MIB,
      speed: 4 * MIB,
    });
    const progress = all.filter(({ event }) => event === "PROGRESS").map(({ data }) => data);
    expect(progress.length).toBeGreaterThan(0);
    for (const data of progress) {
      expect(data).toMatchObject({ id: "j", type: "mirror", speed: 4 * MIB, "io-status": "ok" });
      for (const name of ["bytes-copied", "bytes-skipped", "bytes-recopied", "dirty-bytes", "elapsed-ms"]) {
        expect(data[name]).toBeTypeOf("number");
      }
    }
  });

  test("display options count before the command as well", async () => {
    writeFileSync(file("a.raw"), randomBytes(512));
    const { stdout } = await runCli(["--output", "json", "mirror", "a.raw", "b.raw"], { cwd: root });
    expect(events(stdout).length).toBeGreaterThan(3);
  });

  test("--speed is kept", async () => {
    writeFileSync(file("a.raw"), randomBytes(6 * MIB));
    const { stdout } = await runCli(["mirror", "a.raw", "b.raw", "--speed", "4M", "--output", "json"], {
      cwd: root,
    });
    const all = events(stdout);
    const at = (name: string): number => {
      const found = all.find(({ event, data }) => event === name || data["status"] === name);
      return found === undefined ? Number.NaN : found.timestamp.seconds + found.timestamp.microseconds / 1e6;
    };
    // The first slice may be filled at once; a machine under load only makes it later.
    expect(at("BLOCK_JOB_COMPLETED") - at("running")).toBeGreaterThan(1);
  });

  test("--when-ready cancel leaves an identical copy", async () => {
    writeFileSync(file("a.raw"), randomBytes(2 * MIB));
    const { status, stdout } = await runCli(["mirror", "a.raw", "b.raw", "--when-ready", "cancel"], {
      cwd: root,
    });
    expect(status).toBe(0);
    expect(stdout).toMatch(/completed, b\.raw is up to date/u);
    expect(identical()).toBe(true);
  });
});

describe("interrupts", () => {
  test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)("%s while copying cancels in order", async (signal) => {
    writeFileSync(file("a.raw"), randomBytes(8 * MIB));
    const run = startCli(["mirror", "a.raw", "b.raw", "--speed", "1M"], { cwd: root });
    await run.saw("running");
    run.child.kill(signal);
    const { status, stdout, stderr } = await run.ended;
    expect(status).toBe(130);
    expect(stdout).toMatch(/cancelled, b\.raw is not a copy/u);
    expect(stderr).toBe(
      `blockmirror: ${signal}: cancelling in order; once more stops at once\nblockmirror: cancelled; b.raw is not a copy\n`,
    );
    expect(existsSync(file("b.raw"))).toBe(true);
  });

  test("--when-ready wait: an interrupt after READY ends in order, and the copy is identical", async () => {
    writeFileSync(file("a.raw"), randomBytes(2 * MIB));
    const run = startCli(["mirror", "a.raw", "b.raw", "--when-ready", "wait"], { cwd: root });
    await run.saw("ready: the target follows the source");
    run.child.kill("SIGINT");
    const { status, stdout } = await run.ended;
    expect(status).toBe(130);
    expect(stdout).toMatch(/completed, b\.raw is up to date/u);
    expect(identical()).toBe(true);
  });

  test("a reader that goes away ends the job quietly and in order", async () => {
    writeFileSync(file("a.raw"), randomBytes(8 * MIB));
    const run = startCli(["mirror", "a.raw", "b.raw", "--speed", "1M", "--interval", "0.05"], { cwd: root });
    await run.saw("running");
    run.child.stdout?.destroy();
    const { status, stderr } = await run.ended;
    expect({ status, stderr }).toEqual({
      status: 130,
      stderr: "blockmirror: cancelled; b.raw is not a copy\n",
    });
  });

  test("a help text that nobody reads is no error", () => {
    const program = join(import.meta.dirname, "..", "..", "bin", "blockmirror.js");
    const script = `"${process.execPath}" "${program}" --help 2>&1 >/dev/full`;
    expect(execFileSync("sh", ["-c", `${script}; echo $?`]).toString()).toBe("0\n");
  });
});

describe.skipIf(process.getuid?.() !== 0)("a target that gets full", () => {
  let mount: string;

  beforeEach(() => {
    mount = file("full");
    mkdirSync(mount);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "none", mount]);
    writeFileSync(file("a.raw"), randomBytes(3 * MIB));
  });

  afterEach(() => {
    execFileSync("umount", [mount]);
  });

  test("policy report: one line, exit status 1, the target is kept and named as no copy", async () => {
    const { status, stderr } = await runCli(["mirror", "a.raw", "full/b.raw"], { cwd: root });
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /^blockmirror: mirror failed: [^\n]*full\/b\.raw is not a copy, the source is untouched\n$/u,
    );
    expect(stderr).toMatch(/space|ENOSPC/iu);
    expect(stderr).toContain(
      "; make room there and start it again with --existing; with --on-target-error enospc it pauses instead; ",
    );
    expect(existsSync(file("full/b.raw"))).toBe(true);
  });

  test.each(["stop", "enospc"])(
    "policy %s: the job pauses and says why; an interrupt ends it",
    async (policy) => {
      const run = startCli(
        [
          "mirror",
          "a.raw",
          "full/b.raw",
          "--on-target-error",
          policy,
          "--output",
          "json",
          "--interval",
          "0.1",
        ],
        { cwd: root },
      );
      await run.saw(/"event":"PROGRESS".*"status":"paused".*"io-status":"nospace"/u);
      run.child.kill("SIGINT");
      const { status, stdout } = await run.ended;
      expect(status).toBe(130);
      const all = events(stdout);
      expect(all.find(({ event }) => event === "BLOCK_JOB_ERROR")?.data).toMatchObject({
        device: "mirror0",
        operation: "write",
        action: "stop",
      });
      expect(all.at(-1)?.data["status"]).toBe("null");
    },
  );
});

describe.skipIf(process.getuid?.() !== 0)("block devices", () => {
  test("from a loop device onto another", async (context) => {
    for (const name of ["a.raw", "b.raw"]) writeFileSync(file(name), randomBytes(2 * MIB));
    const devices: string[] = [];
    try {
      for (const name of ["a.raw", "b.raw"]) {
        devices.push(
          execFileSync("losetup", ["-f", "--show", file(name)], { stdio: "pipe" })
            .toString()
            .trim(),
        );
      }
    } catch (error) {
      for (const device of devices) execFileSync("losetup", ["-d", device]);
      console.warn(`SKIPPED: no loop devices here: ${String(error)}`);
      context.skip();
    }
    const [source = "", target = ""] = devices;
    try {
      const refused = await runCli(["mirror", source, target]);
      expect(refused.status).toBe(1);
      expect(refused.stderr).toMatch(/--existing/u);
      const { status, stderr } = await runCli(["mirror", source, target, "--existing"]);
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    } finally {
      for (const device of devices) execFileSync("losetup", ["-d", device]);
    }
    expect(identical()).toBe(true);
  });
});

if (process.getuid?.() !== 0) console.warn("SKIPPED: full target and block devices need root to mount");

test("a target that cannot even be opened after it was created is removed again", async () => {
  // A file of that size cannot be made on this file system, so the job never starts.
  closeSync(openSync(file("a.raw"), "w"));
  truncateSync(file("a.raw"), MIB);
  const { status, stderr } = await runCli(["mirror", "a.raw", "b.raw"], {
    cwd: root,
    through: ["prlimit", "--fsize=65536"],
  });
  expect(status).toBe(1);
  expect(stderr).toMatch(/^blockmirror: [^\n]+\n$/u);
  expect(existsSync(file("b.raw"))).toBe(false);
});

test("a target whose server was lost says why once, on one line", async () => {
  writeFileSync(file("a.raw"), randomBytes(8 * MIB));
  writeFileSync(file("b.raw"), Buffer.alloc(8 * MIB));
  const address = `nbd+unix:///?socket=${file("b.sock")}`;
  const server = startCli(["serve", file("b.raw"), "--listen", address]);
  await server.saw("nbd+unix:");
  const mirror = startCli([
    "mirror",
    file("a.raw"),
    address,
    "--existing",
    "--speed",
    "2M",
    "--interval",
    "0.05",
  ]);
  await mirror.saw(/: copy [1-9]/u);
  server.child.kill("SIGKILL");
  const { status, stderr } = await mirror.ended;
  await server.ended;
  expect(status).toBe(1);
  // The write that was on its way may fail first, or the target refuse the next: either is the reason, told in one line.
  expect(stderr).toMatch(
    /^blockmirror: mirror failed: .*(?: refuses requests: | failed: its connection was lost).* is not a copy, the source is untouched; for a server that keeps what it answered, --unflushed-writes trust goes on instead\n$/u,
  );
});
