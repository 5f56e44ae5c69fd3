import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { BlockGraph, createFileDriver, DriverRegistry, type FileCalls } from "../../src/index.ts";
import {
  BACKENDS,
  lacksNative,
  mountTmpfs,
  openDevice,
  pattern,
  temporaryDirectory,
  temporaryFile,
} from "./support.ts";

const MiB = 1024 * 1024;

function create(
  input: Readonly<Record<string, unknown>>,
  init: { readonly native?: boolean; readonly calls?: Partial<FileCalls> } = {},
): Promise<void> {
  const graph = new BlockGraph({ registry: new DriverRegistry().register(createFileDriver(init)) });
  return graph.create("file", input);
}

function newName(directory: string = temporaryDirectory()): string {
  return path.join(directory, "new.raw");
}

describe.each(BACKENDS)("creating a file ($backend)", ({ native }) => {
  test("makes one hole of that size", async () => {
    const filename = newName();
    await create({ filename, size: 100 * MiB + 5 }, { native });
    const stats = fs.statSync(filename);
    expect(stats.size).toBe(100 * MiB + 5);
    expect(stats.blocks).toBe(0);
    expect(stats.mode & 0o111).toBe(0);
  });

  test.each(["falloc", "full"])(
    "gives it space when asked (%s), which reads as zeroes",
    async (preallocation) => {
      const filename = newName();
      await create({ filename, size: 9 * MiB + 1, preallocation }, { native });
      const stats = fs.statSync(filename);
      expect(stats.size).toBe(9 * MiB + 1);
      expect(stats.blocks * 512).toBeGreaterThanOrEqual(9 * MiB);
      expect(fs.readFileSync(filename).every((byte) => byte === 0)).toBe(true);
    },
  );

  test("refuses a name that is taken, and leaves what has it alone", async () => {
    const filename = temporaryFile(pattern(1000));
    const creating = create({ filename, size: 5 }, { native });
    await expect(creating).rejects.toMatchObject({ code: "EEXIST", operation: "create" });
    expect(fs.readFileSync(filename).equals(pattern(1000))).toBe(true);
    const dangling = path.join(temporaryDirectory(), "link");
    fs.symlinkSync("/nonexistent/target", dangling);
    await expect(create({ filename: dangling, size: 5 }, { native })).rejects.toMatchObject({
      code: "EEXIST",
    });
  });

  test("overwrites when allowed, and nothing of the old content shows", async () => {
    const filename = temporaryFile(pattern(10_000));
    await create({ filename, size: 20_000, overwrite: true }, { native });
    expect(fs.readFileSync(filename).equals(Buffer.alloc(20_000))).toBe(true);
    await create({ filename: newName(), size: 1, overwrite: true }, { native });
  });

  test("never overwrites what is no regular file", async () => {
    const directory = temporaryDirectory();
    const creating = create({ filename: directory, size: 5, overwrite: true }, { native });
    await expect(creating).rejects.toMatchObject({ code: "EISDIR" });
    const device = create({ filename: "/dev/null", size: 5, overwrite: true }, { native });
    await expect(device).rejects.toMatchObject({ code: "EINVAL" });
  });

  test("says when the folder is missing", async () => {
    const filename = path.join(temporaryDirectory(), "no", "new.raw");
    await expect(create({ filename, size: 5 }, { native })).rejects.toMatchObject({ code: "ENOENT" });
    await expect(create({ filename, size: 5 }, { native })).rejects.toThrow(/there is no folder .*\/no/);
  });

  test.for(["falloc", "full"])(
    "removes what it made when there is no space (%s)",
    async (preallocation, context) => {
      const directory = mountTmpfs(MiB);
      if (directory === undefined) return context.skip();
      const filename = newName(directory);
      const creating = create({ filename, size: 64 * MiB, preallocation }, { native });
      await expect(creating).rejects.toMatchObject({ code: "ENOSPC", operation: "create" });
      expect(fs.readdirSync(directory)).toEqual([]);
    },
  );

  test("removes what it made when it fails or is cancelled, and keeps a file that was there", async () => {
    const failing: Partial<FileCalls> = {
      fdatasync: (_fd, done) => process.nextTick(done, Object.assign(new Error("EIO"), { code: "EIO" })),
    };
    const filename = newName();
    await expect(create({ filename, size: 5 }, { native, calls: failing })).rejects.toMatchObject({
      code: "EIO",
    });
    expect(fs.existsSync(filename)).toBe(false);
    const old = temporaryFile(100);
    const replacing = create({ filename: old, size: 5, overwrite: true }, { native, calls: failing });
    await expect(replacing).rejects.toMatchObject({ code: "EIO" });
    expect(fs.existsSync(old)).toBe(true);

    const driver = createFileDriver({ native });
    const abort = AbortSignal.abort();
    const cancelled = driver.create?.(
      { filename, size: 5 * MiB, preallocation: "full", overwrite: false },
      { signal: abort, openChild: () => Promise.reject(new Error("not used")) },
    );
    await expect(cancelled).rejects.toMatchObject({ code: "ECANCELED" });
    expect(fs.existsSync(filename)).toBe(false);
  });

  test("leaves no descriptor open", async () => {
    const before = fs.readdirSync("/proc/self/fd").length;
    const filename = newName();
    await create({ filename, size: 5 }, { native });
    await expect(create({ filename, size: 5 }, { native })).rejects.toMatchObject({ code: "EEXIST" });
    expect(fs.readdirSync("/proc/self/fd").length).toBe(before);
  });

  test("checks its options before it does anything", async () => {
    for (const input of [{}, { filename: newName() }, { filename: newName(), size: -1 }]) {
      await expect(create(input, { native })).rejects.toMatchObject({ code: "EINVAL" });
    }
    const filename = newName();
    await expect(create({ filename, size: 5, preallocation: "metadata" })).rejects.toMatchObject({
      code: "EINVAL",
    });
    expect(fs.existsSync(filename)).toBe(false);
  });
});

describe.skipIf(lacksNative)("creating over an image in use", () => {
  test("is refused before anything is cut off", async () => {
    const filename = temporaryFile(pattern(1000));
    await openDevice(filename, { readOnly: true });
    await expect(create({ filename, size: 5, overwrite: true })).rejects.toMatchObject({ code: "EBUSY" });
    expect(fs.readFileSync(filename).equals(pattern(1000))).toBe(true);
  });
});
