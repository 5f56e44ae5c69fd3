import fs from "node:fs";
import { describe, expect, test } from "vitest";
import { BACKENDS, mountTmpfs, openWritable, pattern, readBack, temporaryFile } from "./support.ts";

const MiB = 1024 * 1024;

describe.each(BACKENDS)("resize ($backend)", ({ native }) => {
  test("growing adds a hole that reads as zeroes; info is replaced", async () => {
    const filename = temporaryFile(pattern(1000));
    const device = await openWritable(filename, { native });
    const before = device.info;
    await device.resize(10 * MiB);
    expect(before.size).toBe(1000);
    expect(device.info.size).toBe(10 * MiB);
    expect(fs.statSync(filename).size).toBe(10 * MiB);
    expect(fs.statSync(filename).blocks * 512).toBeLessThan(MiB);
    expect((await readBack(device, 0, 1000)).equals(pattern(1000))).toBe(true);
    expect((await readBack(device, 1000, MiB)).every((byte) => byte === 0)).toBe(true);
  });

  test("what was cut off does not come back", async () => {
    const device = await openWritable(temporaryFile(pattern(10_000)), { native });
    await device.resize(1234);
    await device.resize(10_000);
    const bytes = await readBack(device, 0, 10_000);
    expect(bytes.subarray(0, 1234).equals(pattern(10_000).subarray(0, 1234))).toBe(true);
    expect(bytes.subarray(1234).every((byte) => byte === 0)).toBe(true);
  });

  test("full preallocation gives the new part space", async () => {
    const filename = temporaryFile(pattern(1000));
    const device = await openWritable(filename, { native });
    await device.resize(4 * MiB, { preallocation: "full" });
    expect(fs.statSync(filename).blocks * 512).toBeGreaterThanOrEqual(4 * MiB);
    expect((await readBack(device, 0, 1000)).equals(pattern(1000))).toBe(true);
    expect((await readBack(device, 1000, 4 * MiB - 1000)).every((byte) => byte === 0)).toBe(true);
  });

  test("has no tables to preallocate, and says so before it changes anything", async () => {
    const filename = temporaryFile(pattern(1000));
    const device = await openWritable(filename, { native });
    const refused = device.resize(4 * MiB, { preallocation: "metadata" });
    await expect(refused).rejects.toMatchObject({ code: "ENOTSUP" });
    expect(fs.statSync(filename).size).toBe(1000);
    expect(device.info.size).toBe(1000);
  });

  test("preallocation that finds no space leaves the old size", async (context) => {
    const directory = mountTmpfs(MiB);
    if (directory === undefined) return context.skip();
    const filename = temporaryFile(pattern(1000), directory);
    const device = await openWritable(filename, { native });
    const resizing = device.resize(64 * MiB, { preallocation: "full" });
    await expect(resizing).rejects.toMatchObject({ code: "ENOSPC", operation: "resize" });
    expect(device.info.size).toBe(1000);
    expect(fs.statSync(filename).size).toBe(1000);
    expect((await readBack(device, 0, 1000)).equals(pattern(1000))).toBe(true);
  });

  test("an aborted preallocation leaves the old size", async () => {
    const filename = temporaryFile(1000);
    const abort = new AbortController();
    const device = await openWritable(filename, {
      native,
      calls: {
        ftruncate(fd, size, done) {
          abort.abort();
          fs.ftruncate(fd, size, done);
        },
      },
    });
    const resizing = device.resize(MiB, { preallocation: "full", signal: abort.signal });
    await expect(resizing).rejects.toMatchObject({ code: "ECANCELED" });
    expect(device.info.size).toBe(1000);
    expect(fs.statSync(filename).size).toBe(1000);
  });

  test.each([500, 5000])("a file that another program made %i bytes is not resized over it", async (size) => {
    const filename = temporaryFile(pattern(1000));
    const device = await openWritable(filename, { native });
    fs.truncateSync(filename, size);
    await expect(device.resize(3000)).rejects.toMatchObject({
      code: "EIO",
      message: expect.stringMatching(/resized it; end what uses it, .* and open it again$/),
    });
    expect(fs.statSync(filename).size).toBe(size);
  });

  test("a size beyond what the file system holds is an error and changes nothing", async () => {
    const filename = temporaryFile(pattern(1000));
    const device = await openWritable(filename, {
      native,
      calls: {
        ftruncate: (_fd, _size, done) =>
          process.nextTick(done, Object.assign(new Error("EFBIG"), { code: "EFBIG" })),
      },
    });
    await expect(device.resize(2 ** 50)).rejects.toMatchObject({ code: "EFBIG" });
    expect(device.info.size).toBe(1000);
  });
});
