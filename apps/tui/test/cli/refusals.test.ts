import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { picture, runCli, scratchDirectory, type CliOptions } from "./support/run-cli.ts";

const SIZE = 64 * 1024;
let scratch: ReturnType<typeof scratchDirectory>;
let root: string;

beforeAll(() => {
  scratch = scratchDirectory();
  root = scratch.path;
  // Somebody without privileges has to be able to look inside.
  chmodSync(root, 0o755);
  writeFileSync(join(root, "a.raw"), Buffer.alloc(SIZE, 0x5a));
  writeFileSync(join(root, "same.raw"), Buffer.alloc(SIZE, 1));
  writeFileSync(join(root, "small.raw"), Buffer.alloc(SIZE - 512));
  writeFileSync(join(root, "large.raw"), Buffer.alloc(SIZE + 512));
  writeFileSync(
    join(root, "q.img"),
    Buffer.concat([Buffer.from("QFI\u00FB", "latin1"), Buffer.alloc(SIZE - 4)]),
  );
  mkdirSync(join(root, "dir"));
  linkSync(join(root, "a.raw"), join(root, "hard.raw"));
  symlinkSync("a.raw", join(root, "soft.raw"));
  symlinkSync("nowhere", join(root, "dangling.raw"));
  symlinkSync("loop.raw", join(root, "loop.raw"));
  execFileSync("mkfifo", [join(root, "fifo")]);
});

afterAll(() => {
  scratch.remove();
});

/** Runs a command that has to be refused: that status, one line with that in it, and nothing touched. */
async function refused(
  args: readonly string[],
  status: number,
  words: RegExp,
  options: CliOptions = {},
): Promise<void> {
  const before = picture(root);
  const result = await runCli(args, { cwd: root, ...options });
  expect(result).toMatchObject({ status, stdout: "" });
  expect(result.stderr).toMatch(/^blockmirror: [^\n]+\n$/u);
  expect(result.stderr).toMatch(words);
  expect(picture(root)).toEqual(before);
}

describe.concurrent("the terminal UI without a terminal is refused before anything is begun", () => {
  test.each<[string, readonly string[]]>([
    ["mirror", ["mirror", "a.raw", "b.raw"]],
    ["serve", ["serve", "a.raw", "--listen", "nbd+unix:///?socket=s.sock"]],
    ["attach", ["attach", "none.qmp"]],
    ["no command", []],
  ])("%s", async (_name, args) => {
    await refused(
      [...args, "--output", "tui"],
      2,
      /needs a terminal, and standard output is none; give plain/u,
    );
  });
});

describe.concurrent("images are looked at before anything is touched", () => {
  test.each<[string, readonly string[], RegExp]>([
    ["a source that is missing", ["none.raw", "b.raw"], /does not exist; check the path/u],
    ["a source that is a directory", ["dir", "b.raw"], /is a directory; name an image file/u],
    ["a source that is a pipe", ["fifo", "b.raw"], /neither a file nor a block device/u],
    ["a source that is a character device", ["/dev/zero", "b.raw"], /neither a file nor a block device/u],
    ["a path through a file", ["a.raw/x", "b.raw"], /not a directory; check the path/u],
    ["a link that leads to itself", ["loop.raw", "b.raw"], /lead in a circle/u],
    ["qcow2 magic and nothing behind it", ["q.img", "b.raw"], /source .*q\.img.*cannot be used as an image/u],
    ["one file twice", ["a.raw", "./a.raw", "--existing"], /are the same file/u],
    ["one file by a hard link", ["a.raw", "hard.raw", "--existing"], /are the same file/u],
    ["one file by a symbolic link", ["soft.raw", "a.raw", "--existing"], /are the same file/u],
    ["one file without --existing", ["a.raw", "hard.raw"], /are the same file/u],
    ["a target that exists", ["a.raw", "same.raw"], /give --existing to overwrite it/u],
    ["a target that does not exist", ["a.raw", "b.raw", "--existing"], /leave --existing out/u],
    [
      "a target that is smaller",
      ["a.raw", "small.raw", "--existing"],
      /is smaller than the source.*resize it/u,
    ],
    [
      "a target that is larger",
      ["a.raw", "large.raw", "--existing"],
      /is larger than the source.*resize it/u,
    ],
    ["a target that is a directory", ["a.raw", "dir"], /is a directory/u],
    ["a target that is a pipe", ["a.raw", "fifo", "--existing"], /neither a file/u],
    ["a target that is a dangling link", ["a.raw", "dangling.raw"], /symbolic link to a file that does not/u],
    ["no directory for the target", ["a.raw", "no/b.raw"], /does not exist; create it first/u],
    ["a file as the target's directory", ["a.raw", "same.raw/b.raw"], /not a directory/u],
  ])("%s", async (_name, args, words) => {
    await refused(["mirror", ...args], 1, words);
  });
});

describe.skipIf(process.getuid?.() !== 0)("permissions, as a user who has none", () => {
  const options: CliOptions = { through: ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] };

  test("an unreadable source", async () => {
    chmodSync(join(root, "q.img"), 0o000);
    await refused(
      ["mirror", "q.img", "dir/b.raw"],
      1,
      /q.img is not readable; check its permissions/u,
      options,
    );
  });

  test("a target's directory that is not writable", async () => {
    await refused(["mirror", "a.raw", "b.raw"], 1, /is not writable; check its permissions/u, options);
  });

  test("a target that is not writable", async () => {
    await refused(["mirror", "a.raw", "same.raw", "--existing"], 1, /same.raw is not writable/u, options);
  });
});

if (process.getuid?.() !== 0) console.warn("SKIPPED: permission tests become another user, which needs root");

describe.concurrent("a wrong command line is told before any image is looked at", () => {
  test.each<[readonly string[], RegExp]>([
    [["frob"], /no command 'frob'; see blockmirror --help/u],
    [["--frob"], /unknown option '--frob'; see blockmirror --help/u],
    [["mirror"], /missing required argument 'source'; see blockmirror mirror --help/u],
    [["mirror", "a.raw"], /missing required argument 'target'/u],
    [["mirror", "a.raw", "b.raw", "c.raw"], /too many arguments/u],
    [["mirror", "", "b.raw"], /SOURCE "": the path is empty/u],
    [["mirror", "a.raw", ""], /TARGET "": the path is empty/u],
    [["mirror", "a.raw", "b.raw", "--granlarity", "4K"], /Did you mean --granularity\?/u],
    [["demo", "x"], /too many arguments.*see blockmirror demo --help/u],
    [["demo", "--interval", "0"], /from 0\.05 to 3600 seconds/u],
    [[], /this is no terminal; see blockmirror --help/u],
    ...[
      ["--granularity", "3"],
      ["--granularity", "256"],
      ["--granularity", "128M"],
      ["--granularity", "64KB"],
      ["--buf-size", "2G"],
      ["--buf-size", "lots"],
      ["--speed", "-1"],
      ["--speed", "9999P"],
      ["--interval", "x"],
      ["--interval", "4000"],
      ["--interval", ""],
      ["--job-id", "9lives"],
      ["--job-id", ""],
      ["--sync", "bitmap"],
      ["--copy-mode", "eager"],
      ["--larger-target", "shrink"],
      ["--when-ready", "never"],
      ["--on-source-error", "panic"],
      ["--on-target-error", "auto"],
      ["--source-format", "vmdk"],
      ["--target-format", "vdi"],
      ["--output", "xml"],
      ["--color", "blue"],
      ["--theme", "dark"],
    ].map(([option = "", value = ""]): [readonly string[], RegExp] => [
      ["mirror", "a.raw", "b.raw", option, value],
      new RegExp(`^blockmirror: ${option} `, "u"),
    ]),
  ])("%j", async (args, words) => {
    await refused(args, 2, words);
  });
});

test("a source that QEMU's magic marks is copied as it is when that is asked for", async () => {
  truncateSync(join(root, "q.img"), SIZE);
  const { status } = await runCli(["mirror", "q.img", "b.raw", "--source-format", "raw"], { cwd: root });
  expect(status).toBe(0);
});

test.each(["nbd://localhost:1/disk", "nbd:localhost:10809"])(
  "create makes no file named %s",
  async (name) => {
    const { status, stderr } = await runCli(["create", name, "1M"], { cwd: root });
    expect(status).toBe(1);
    expect(stderr).toContain("an export cannot be made, only a file");
    expect(existsSync(join(root, name))).toBe(false);
  },
);

test.each(["info", "check"])("%s of an export that cannot be reached names it", async (command) => {
  const { status, stderr } = await runCli([command, "-f", "qcow2", "nbd://localhost:1/disk"]);
  expect(status).toBe(1);
  expect(stderr).toMatch(/^blockmirror: .*nbd:\/\/localhost:1\/disk.*\n$/u);
});

test("a backing file elsewhere is refused with the image's name and the option that allows it", async () => {
  const elsewhere = scratchDirectory();
  try {
    const base = join(elsewhere.path, "base.raw");
    writeFileSync(base, Buffer.alloc(SIZE));
    const create = ["create", "top.qcow2", "--backing", base, "--backing-format", "raw"];
    expect(await runCli([...create, "--allow-backing", elsewhere.path], { cwd: root })).toMatchObject({
      status: 0,
    });
    for (const args of [
      ["map", "top.qcow2"],
      ["mirror", "top.qcow2", "copy.qcow2"],
    ]) {
      await refused(
        args,
        1,
        /the backing file of \S*top\.qcow2 was not opened: .*base\.raw.*--allow-backing/u,
      );
    }
    const allowed = await runCli(["map", "top.qcow2", "--allow-backing", elsewhere.path], { cwd: root });
    expect(allowed.status).toBe(0);
  } finally {
    elsewhere.remove();
  }
});
