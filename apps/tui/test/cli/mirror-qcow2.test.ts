import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { lacksPeers } from "@blockmirror/peers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { runCli, scratchDirectory } from "./support/run-cli.ts";

const MIB = 2 ** 20;

describe.skipIf(lacksPeers("qemu-img", "qemu-io"))("mirrors of qcow2 images", () => {
  let scratch: ReturnType<typeof scratchDirectory>;
  let root: string;

  beforeEach(() => {
    scratch = scratchDirectory();
    root = scratch.path;
  });

  afterEach(() => {
    scratch.remove();
  });

  function qemu(program: "qemu-img" | "qemu-io", ...args: readonly string[]): string {
    return execFileSync(program, args, { cwd: root, encoding: "utf8" });
  }

  async function mirror(...args: readonly string[]): Promise<string> {
    const result = await runCli(["mirror", ...args, "--output", "json"], { cwd: root });
    expect(result, result.stderr).toMatchObject({ status: 0 });
    return result.stderr;
  }

  function formatOf(image: string): unknown {
    return JSON.parse(qemu("qemu-img", "info", "--output=json", image)).format;
  }

  /** A chain of two: what the overlay lacks is in its base. */
  function makeChain(): void {
    qemu("qemu-img", "create", "-q", "-f", "raw", "base.raw", "8M");
    qemu("qemu-io", "-f", "raw", "-c", "write -P 1 0 3M", "base.raw");
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "top.qcow2");
    qemu("qemu-io", "-f", "qcow2", "-c", "write -P 2 1M 64k", "-c", "write -P 3 7M 1000", "top.qcow2");
  }

  /** A source, its copy of then, and a bitmap of what was written since. */
  function makePair(): void {
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "8M");
    qemu("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 8M", "disk.qcow2");
    qemu("qemu-img", "convert", "-O", "raw", "disk.qcow2", "copy.raw");
    qemu("qemu-img", "bitmap", "--add", "disk.qcow2", "since");
    qemu("qemu-img", "bitmap", "--add", "disk.qcow2", "other");
    qemu("qemu-io", "-f", "qcow2", "-c", "write -P 2 1M 64k", "-c", "write -P 3 7M 1000", "disk.qcow2");
  }

  test.each([
    ["disk.qcow2", "copy.raw", "raw", "--target-format qcow2"],
    ["base.raw", "copy.QCOW2", "qcow2", "--target-format raw"],
  ])(
    "mirroring %s to %s makes what the name says, and tells so with the option for the other",
    async (source, target, made, ...said) => {
      makeChain();
      qemu("qemu-img", "convert", "-O", "qcow2", "base.raw", "disk.qcow2");
      const told = await mirror(source, target);
      for (const text of [`is made a ${made} image`, ...said]) expect(told).toContain(text);
      expect(formatOf(target)).toBe(made);
      // Who says the format, or names no other, need not hear of it.
      const ofSource = source === "base.raw" ? "raw" : "qcow2";
      const named = await mirror(source, `as-told.${target}`, "--target-format", ofSource);
      expect(named + (await mirror(source, "copy.img"))).not.toContain("is made a");
      expect([formatOf(`as-told.${target}`), formatOf("copy.img")]).toEqual([ofSource, ofSource]);
    },
  );

  test("a start that fails takes back the target and its data file, and nobody else's", async () => {
    mkdirSync(join(root, "images"));
    writeFileSync(join(root, "images/a.raw"), Buffer.alloc(MIB, 1));
    // The target may not name a file outside of its directory, which is known only when it is opened.
    const start = (): ReturnType<typeof runCli> =>
      runCli(["mirror", "a.raw", "b.qcow2", "--target-format", "qcow2", "-o", "data_file=../outside.raw"], {
        cwd: join(root, "images"),
      });
    expect(await start()).toMatchObject({ status: 1 });
    expect(readdirSync(root)).toEqual(["images"]);
    expect(readdirSync(join(root, "images"))).toEqual(["a.raw"]);
    writeFileSync(join(root, "outside.raw"), "precious");
    expect(await start()).toMatchObject({ status: 1 });
    expect(readFileSync(join(root, "outside.raw"), "utf8")).toBe("precious");
  });

  test("options of a new target go by its name, too", async () => {
    makeChain();
    await mirror("base.raw", "copy.qcow2", "-o", "cluster_size=4k");
    expect(JSON.parse(qemu("qemu-img", "info", "--output=json", "copy.qcow2"))).toMatchObject({
      format: "qcow2",
      "cluster-size": 4096,
    });
  });

  test("--sync none makes an overlay of the source, for it copies nothing that is there", async () => {
    makeChain();
    mkdirSync(join(root, "elsewhere"));
    await mirror("top.qcow2", "elsewhere/copy.qcow2", "--sync", "none");
    expect(JSON.parse(qemu("qemu-img", "info", "--output=json", "elsewhere/copy.qcow2"))).toMatchObject({
      "backing-filename": "../top.qcow2",
      "backing-filename-format": "qcow2",
    });
    qemu("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", "top.qcow2", "elsewhere/copy.qcow2");
    expect(statSync(join(root, "elsewhere/copy.qcow2")).size).toBeLessThan(MIB);
    // Whoever wants it without gets what he asked for.
    await mirror("base.raw", "alone.qcow2", "--sync", "none", "--backing-mode", "leave");
    expect(qemu("qemu-img", "info", "--output=json", "alone.qcow2")).not.toContain("backing-filename");
  });

  test("--sync none refuses a new target that could not name the source", async () => {
    makeChain();
    const result = await runCli(["mirror", "base.raw", "copy.raw", "--sync", "none"], { cwd: root });
    expect(result.status).toBe(1);
    expect(result.stderr).toMatch(
      /cannot be raw with --sync none.*--target-format qcow2, or with --existing/u,
    );
    expect(existsSync(join(root, "copy.raw"))).toBe(false);
  });

  test("--sync top makes a copy that stands on the same base, wherever it is", async () => {
    makeChain();
    mkdirSync(join(root, "elsewhere"));
    await mirror("top.qcow2", "elsewhere/copy.qcow2", "--sync", "top", "--copy-mode", "write-blocking");
    expect(JSON.parse(qemu("qemu-img", "info", "--output=json", "elsewhere/copy.qcow2"))).toMatchObject({
      "backing-filename": "../base.raw",
      "backing-filename-format": "raw",
    });
    qemu("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", "top.qcow2", "elsewhere/copy.qcow2");
    expect(statSync(join(root, "elsewhere/copy.qcow2")).size).toBeLessThan(MIB);
  });

  test("--sync top refuses a copy that could not name its base", async () => {
    makeChain();
    const result = await runCli(
      ["mirror", "top.qcow2", "copy.raw", "--sync", "top", "--target-format", "raw"],
      {
        cwd: root,
      },
    );
    expect(result.status).toBe(1);
    expect(result.stderr).toContain("--target-format qcow2");
    expect(existsSync(join(root, "copy.raw"))).toBe(false);
  });

  test("--larger-target zero takes a larger image and clears what lies behind", async () => {
    makeChain();
    writeFileSync(join(root, "large.raw"), Buffer.alloc(9 * MIB, 0xee));
    await mirror("top.qcow2", "large.raw", "--existing", "--larger-target", "zero");
    qemu("qemu-img", "compare", "-f", "qcow2", "-F", "raw", "top.qcow2", "large.raw");
  });

  describe("--sync bitmap", () => {
    test("copies what was written since, and nothing else, and leaves the bitmap as it was", async () => {
      makePair();
      const bitmaps = qemu("qemu-img", "map", "--output=json", "disk.qcow2");
      const args = [
        "mirror",
        "disk.qcow2",
        "copy.raw",
        "--existing",
        "--sync",
        "bitmap",
        "--bitmap",
        "since",
      ];
      const result = await runCli(args, { cwd: root });
      expect(result.status, result.stderr).toBe(0);
      expect(result.stdout).toMatch(/copy\.raw is up to date; 128 KiB copied/u);
      qemu("qemu-img", "compare", "-f", "qcow2", "-F", "raw", "disk.qcow2", "copy.raw");
      expect(qemu("qemu-img", "map", "--output=json", "disk.qcow2")).toBe(bitmaps);
      const { stdout } = await runCli(["map", "disk.qcow2", "--bitmap", "since"], { cwd: root });
      expect(stdout).toMatch(/1048576 +65536/u);
    });

    test("follows the clients of an export too, whose writes the bitmap keeps", async () => {
      makePair();
      const args = ["copy.raw", "--existing", "--sync", "bitmap", "--bitmap", "since"];
      const socket = join(root, "export.sock");
      await mirror("disk.qcow2", ...args, "--export", `nbd+unix:///?socket=${socket}`);
      qemu("qemu-img", "compare", "-f", "qcow2", "-F", "raw", "disk.qcow2", "copy.raw");
      await mirror("disk.qcow2", ...args);
    });

    test.each([
      [["--existing"], /--sync bitmap needs --bitmap NAME/u, 2],
      [["--bitmap", "since"], /brings an earlier copy up to date; give --existing/u, 2],
      [["--existing", "--bitmap", "nix"], /has no dirty bitmap 'nix'; it has since, other/u, 1],
      [["--existing", "--bitmap", "since", "--backing-mode", "source-chain"], /source-chain is not for/u, 1],
      [["--existing", "--bitmap", "since", "--sync", "full"], /--bitmap is for --sync bitmap/u, 2],
      [["--existing", "--bitmap", "since", "--source-format", "raw"], /keeps no dirty bitmaps/u, 1],
    ] as const)("refused, with the copy untouched: %j", async (options, words, status) => {
      makePair();
      qemu("qemu-io", "-f", "raw", "-c", "write -P 9 0 8M", "copy.raw");
      const args = ["mirror", "disk.qcow2", "copy.raw", "--sync", "bitmap", ...options];
      const result = await runCli(args, { cwd: root });
      expect(result.stderr).toMatch(words);
      expect(result.status).toBe(status);
      qemu("qemu-io", "-f", "raw", "-c", "read -P 9 0 8M", "copy.raw");
    });

    test("a bitmap that was not stored in order is not relied on", async () => {
      makePair();
      // Its flag of being in use, as a program that was killed leaves it: 12 bytes before its name in the directory.
      const file = readFileSync(join(root, "disk.qcow2"));
      for (let at = file.indexOf("since"); at >= 0; at = file.indexOf("since", at + 1)) {
        file.writeUInt32BE(file.readUInt32BE(at - 12) | 1, at - 12);
      }
      writeFileSync(join(root, "disk.qcow2"), file);
      const args = [
        "mirror",
        "disk.qcow2",
        "copy.raw",
        "--existing",
        "--sync",
        "bitmap",
        "--bitmap",
        "since",
      ];
      const result = await runCli(args, { cwd: root });
      expect(result.status).toBe(1);
      expect(result.stderr).toMatch(/dirty bitmap 'since' of disk\.qcow2 cannot be used: .*sync full/u);
    });
  });

  test("a chain to a new qcow2 image, which is the default, and one with options", async () => {
    makeChain();
    expect(await mirror("top.qcow2", "copy.qcow2")).toMatch(/top\.qcow2 is opened as qcow2/u);
    qemu("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", "top.qcow2", "copy.qcow2");
    qemu("qemu-img", "check", "-q", "copy.qcow2");
    const options = [
      "--target-format",
      "qcow2",
      "-o",
      "cluster_size=4k,extended_l2=off",
      "-o",
      "compat=0.10",
    ];
    await mirror("top.qcow2", "old.qcow2", "--source-format", "qcow2", ...options);
    qemu("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", "top.qcow2", "old.qcow2");
    expect(JSON.parse(qemu("qemu-img", "info", "--output=json", "old.qcow2"))).toMatchObject({
      "cluster-size": 4096,
      "format-specific": { data: { compat: "0.10" } },
    });
  });

  test("to raw and back", async () => {
    makeChain();
    await mirror("top.qcow2", "flat.raw", "--target-format", "raw");
    qemu("qemu-img", "compare", "-f", "qcow2", "-F", "raw", "top.qcow2", "flat.raw");
    await mirror("flat.raw", "again.qcow2", "--target-format", "qcow2");
    qemu("qemu-img", "compare", "-f", "raw", "-F", "qcow2", "flat.raw", "again.qcow2");
    expect(statSync(join(root, "again.qcow2")).blocks * 512).toBeLessThan(5 * MIB);
  });

  test("over an image that exists", async () => {
    makeChain();
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "there.qcow2", "8M");
    qemu("qemu-io", "-f", "qcow2", "-c", "write -P 9 0 8M", "there.qcow2");
    await mirror("top.qcow2", "there.qcow2", "--existing");
    qemu("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", "top.qcow2", "there.qcow2");
    qemu("qemu-img", "check", "-q", "there.qcow2");
  });

  test("the container itself, as raw bytes", async () => {
    makeChain();
    await mirror("top.qcow2", "bytes.qcow2", "--source-format", "raw");
    expect(execFileSync("cmp", ["top.qcow2", "bytes.qcow2"], { cwd: root }).toString()).toBe("");
  });

  test.each([
    [["odd.raw", "copy.qcow2", "--target-format", "qcow2"], /whole sectors/u, 1],
    [["top.qcow2", "small.qcow2", "--existing"], /is smaller than the source/u, 1],
    [["far.qcow2", "copy.qcow2"], /outside the image's directory|--allow-backing/u, 1],
    [["top.qcow2", "copy.img", "-o", "cluster_size=4k"], /-o needs --target-format/u, 2],
    [["top.qcow2", "copy.raw", "--target-format", "raw", "-o", "cluster_size=4k"], /raw has no option/u, 2],
    [
      ["top.qcow2", "copy.qcow2", "--target-format", "qcow2", "-o", "cluster_size=3"],
      /-o cluster_size=3: must be a power of two from 512 to 2M/u,
      2,
    ],
  ] as const)("refused: %j", async (args, words, status) => {
    makeChain();
    writeFileSync(join(root, "odd.raw"), Buffer.alloc(1000));
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "small.qcow2", "4M");
    qemu(
      "qemu-img",
      "create",
      "-q",
      "-u",
      "-f",
      "qcow2",
      "-b",
      "/etc/passwd",
      "-F",
      "raw",
      "far.qcow2",
      "1M",
    );
    const result = await runCli(["mirror", ...args], { cwd: root });
    expect(result.status, result.stderr).toBe(status);
    expect(result.stderr).toMatch(words);
    expect(existsSync(join(root, "copy.qcow2"))).toBe(false);
  });
});
