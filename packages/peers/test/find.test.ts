import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";

import { findPeer, lacksPeers, PEER_NAMES, peerOrSkip, requirePeer } from "../src/index.ts";

let directory: string;
let first: string;
let second: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "blockmirror-peers-"));
  first = join(directory, "first");
  second = join(directory, "second");
  await mkdir(first);
  await mkdir(second);
  await writeFile(join(first, "fio"), "not executable");
  await mkdir(join(first, "tmux"));
  await writeFile(join(second, "fio"), "#!/bin/sh\n");
  await chmod(join(second, "fio"), 0o755);
});

afterAll(() => rm(directory, { recursive: true, force: true }));

describe("findPeer", () => {
  test("takes the first executable file of that name in PATH", () => {
    const PATH = [first, second].join(delimiter);
    expect(findPeer("fio", { PATH })).toBe(join(second, "fio"));
  });

  test("does not take a directory, a file without execute permission, or the working directory for an empty entry", () => {
    expect(findPeer("tmux", { PATH: first })).toBeUndefined();
    expect(findPeer("fio", { PATH: first })).toBeUndefined();
    expect(findPeer("fio", { PATH: "" })).toBeUndefined();
    expect(findPeer("fio", {})).toBeUndefined();
  });
});

describe("a missing peer", () => {
  test("required: throws and names the package to install", () => {
    expect(() => requirePeer("qemu-storage-daemon", { PATH: first })).toThrow(
      expect.objectContaining({
        code: "PEER_MISSING",
        message: expect.stringContaining("apt-get install qemu-system-common"),
      }),
    );
  });

  test("optional: is said once on the console and gives undefined", () => {
    const warn = vi.spyOn(console, "warn").mockReturnValue();
    try {
      expect(peerOrSkip("nbdcopy", { PATH: first })).toBeUndefined();
      expect(peerOrSkip("nbdcopy", { PATH: first })).toBeUndefined();
      expect(warn.mock.calls).toEqual([[expect.stringMatching(/^SKIPPED.*nbdcopy.*libnbd-bin/u)]]);
    } finally {
      warn.mockRestore();
    }
  });

  test("optional, but peers are required here: throws instead of skipping", () => {
    const env = { PATH: first, BLOCKMIRROR_REQUIRE_PEERS: "1" };
    expect(() => peerOrSkip("nbdkit", env)).toThrow(expect.objectContaining({ code: "PEER_MISSING" }));
  });

  test("any one missing of several makes the whole suite skip", () => {
    const warn = vi.spyOn(console, "warn").mockReturnValue();
    vi.stubEnv("PATH", second);
    vi.stubEnv("BLOCKMIRROR_REQUIRE_PEERS", "0");
    try {
      expect(lacksPeers("fio")).toBe(false);
      expect(lacksPeers("fio", "qemu-nbd")).toBe(true);
      vi.stubEnv("BLOCKMIRROR_REQUIRE_PEERS", "1");
      expect(() => lacksPeers("fio", "qemu-nbd")).toThrow(/qemu-nbd/u);
    } finally {
      vi.unstubAllEnvs();
      warn.mockRestore();
    }
  });
});

test("every peer is known by name", () => {
  expect(PEER_NAMES).toEqual(
    expect.arrayContaining([
      "qemu-img",
      "qemu-io",
      "qemu-nbd",
      "qemu-storage-daemon",
      "nbdkit",
      "nbdcopy",
      "fio",
      "tmux",
    ]),
  );
});
