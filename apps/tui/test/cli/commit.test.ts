import { execFileSync } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { lacksPeers } from "@blockmirror/peers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { runCli, scratchDirectory } from "./support/run-cli.ts";

describe.skipIf(lacksPeers("qemu-img", "qemu-io"))("committing overlays", () => {
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

  function commit(...args: readonly string[]): ReturnType<typeof runCli> {
    return runCli(["commit", ...args, "--output", "json"], { cwd: root });
  }

  /** `base` (raw, or qcow2) below `middle.qcow2` below `top.qcow2`, and what the top shows as `expected.raw`. */
  function makeChain(format: "raw" | "qcow2", baseSize = "8M"): string {
    const base = `base.${format}`;
    qemu("qemu-img", "create", "-q", "-f", format, base, baseSize);
    qemu("qemu-io", "-f", format, "-c", "write -P 1 0 3M", base);
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", format, "middle.qcow2", "8M");
    qemu("qemu-io", "-f", "qcow2", "-c", "write -P 2 1M 640k", "-c", "write -z 64k 128k", "middle.qcow2");
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", "middle.qcow2", "-F", "qcow2", "top.qcow2");
    qemu("qemu-io", "-f", "qcow2", "-c", "write -P 3 1100k 5k", "-c", "write -P 4 7M 1000", "top.qcow2");
    qemu("qemu-img", "convert", "-f", "qcow2", "-O", "raw", "top.qcow2", "expected.raw");
    return base;
  }

  test.each(["raw", "qcow2"] as const)(
    "into the base at the bottom (%s): qemu-img finds the top's content there, and a sound image",
    async (format) => {
      const base = makeChain(format);
      const overlay = readFileSync(join(root, "top.qcow2"));
      const result = await commit("top.qcow2", "--base", base);
      expect(result, result.stderr).toMatchObject({ status: 0 });
      expect(result.stdout).toContain('"type":"commit"');
      qemu("qemu-img", "compare", "-f", "raw", "-F", format, "expected.raw", base);
      if (format === "qcow2") qemu("qemu-img", "check", "-q", "-f", "qcow2", base);
      // The overlay is only read, and shows the same as before.
      expect(readFileSync(join(root, "top.qcow2")).equals(overlay)).toBe(true);
      qemu("qemu-img", "compare", "-f", "raw", "-F", "qcow2", "expected.raw", "top.qcow2");
    },
  );

  test("by default into the image right below, as qemu-img commit does", async () => {
    makeChain("raw");
    for (const name of ["base.raw", "middle.qcow2", "top.qcow2"]) {
      execFileSync("cp", [name, `peer-${name}`], { cwd: root });
    }
    qemu(
      "qemu-img",
      "rebase",
      "-u",
      "-f",
      "qcow2",
      "-b",
      "peer-middle.qcow2",
      "-F",
      "qcow2",
      "peer-top.qcow2",
    );
    qemu("qemu-img", "commit", "-q", "-d", "-f", "qcow2", "peer-top.qcow2");
    const before = readFileSync(join(root, "base.raw"));
    const result = await commit("top.qcow2");
    expect(result, result.stderr).toMatchObject({ status: 0 });
    qemu("qemu-img", "check", "-q", "-f", "qcow2", "middle.qcow2");
    qemu("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", "middle.qcow2", "peer-middle.qcow2");
    qemu("qemu-img", "compare", "-f", "qcow2", "-F", "raw", "middle.qcow2", "expected.raw");
    expect(readFileSync(join(root, "base.raw")).equals(before)).toBe(true);
  });

  test("a shorter base is grown", async () => {
    const base = makeChain("raw", "4M");
    const result = await commit("top.qcow2", "--base", base, "--when-ready", "cancel");
    expect(result, result.stderr).toMatchObject({ status: 0 });
    expect(statSync(join(root, base)).size).toBe(8 * 2 ** 20);
    qemu("qemu-img", "compare", "-f", "raw", "-F", "raw", "expected.raw", base);
  });

  test("refusals say why and leave the images alone", async () => {
    makeChain("raw");
    writeFileSync(join(root, "stranger.raw"), Buffer.alloc(512));
    const before = readFileSync(join(root, "base.raw"));
    const cases: readonly (readonly [readonly string[], RegExp, number])[] = [
      [["top.qcow2", "--base", "stranger.raw"], /stranger\.raw is not in the backing chain of top\.qcow2/, 1],
      [["top.qcow2", "--base", "nowhere"], /base nowhere does not exist/, 1],
      [["nowhere.qcow2"], /overlay nowhere\.qcow2 does not exist/, 1],
      [["base.raw"], /base\.raw has no backing file/, 1],
      [["top.qcow2", "--granularity", "777"], /granularity/, 2],
      [[], /missing required argument/, 2],
    ];
    for (const [args, text, status] of cases) {
      const result = await commit(...args);
      expect(result, args.join(" ")).toMatchObject({ status });
      expect(result.stderr).toMatch(text);
      expect(result.stderr.trim().split("\n")).toHaveLength(1);
    }
    expect(readFileSync(join(root, "base.raw")).equals(before)).toBe(true);
  });
});
