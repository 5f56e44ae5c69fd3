import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
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

  /** A chain of two: what the overlay lacks is in its base. */
  function makeChain(): void {
    qemu("qemu-img", "create", "-q", "-f", "raw", "base.raw", "8M");
    qemu("qemu-io", "-f", "raw", "-c", "write -P 1 0 3M", "base.raw");
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "top.qcow2");
    qemu("qemu-io", "-f", "qcow2", "-c", "write -P 2 1M 64k", "-c", "write -P 3 7M 1000", "top.qcow2");
  }

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
    [["top.qcow2", "copy.qcow2", "-o", "cluster_size=4k"], /-o needs --target-format/u, 2],
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
