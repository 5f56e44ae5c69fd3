import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { isPromise } from "../../src/index.ts";
import { lacksNative, mountTmpfs, openDevice, pattern, temporaryFile } from "./support.ts";

const KiB = 1024;

describe.skipIf(process.platform !== "linux")("reads of a file in memory", () => {
  test("are answered at once, with the right bytes", async () => {
    const directory = mountTmpfs(4 * 1024 * KiB);
    if (directory === undefined) return;
    const content = pattern(300 * KiB);
    const filename = path.join(directory, "disk.raw");
    fs.writeFileSync(filename, content);
    const device = await openDevice(filename);
    for (const [offset, length] of [
      [0, 1],
      [4093, 4096],
      [1000, 256 * KiB],
    ] as const) {
      const memory = Buffer.alloc(length + 200, 0xee);
      expect(isPromise(device.read(offset, [memory.subarray(100, 100 + length)]))).toBe(false);
      expect(memory.subarray(100, 100 + length).equals(content.subarray(offset, offset + length))).toBe(true);
      expect(memory.subarray(0, 100).every((byte) => byte === 0xee)).toBe(true);
      expect(memory.subarray(100 + length).every((byte) => byte === 0xee)).toBe(true);
      // The next turn has a budget of its own.
      await new Promise(setImmediate);
    }
    const threads = await openDevice(filename, { aio: "threads", locking: "off" });
    const read = threads.read(0, [Buffer.alloc(1)]);
    expect(isPromise(read)).toBe(true);
    await read;
    fs.truncateSync(filename, 10 * KiB);
    await expect((async () => device.read(8 * KiB, [Buffer.alloc(4 * KiB)]))()).rejects.toMatchObject({
      code: "EIO",
    });
  });
});

describe.skipIf(lacksNative)("small reads of what the host has in memory", () => {
  test("are answered at once, with the right bytes", async () => {
    const content = pattern(256 * KiB);
    const device = await openDevice(temporaryFile(content));
    let answeredAtOnce = 0;
    for (const [offset, length] of [
      [0, 1],
      [4093, 4096],
      [100 * KiB + 7, 32 * KiB],
      [1000, 200 * KiB],
      [256 * KiB - 1, 1],
    ] as const) {
      // In the middle of a larger buffer: the address has to be that of the view.
      const memory = Buffer.alloc(length + 200, 0xee);
      const result = device.read(offset, [memory.subarray(100, 100 + length)]);
      if (!isPromise(result)) answeredAtOnce += 1;
      await result;
      expect(memory.subarray(100, 100 + length).equals(content.subarray(offset, offset + length))).toBe(true);
      expect(memory.subarray(0, 100).every((byte) => byte === 0xee)).toBe(true);
      expect(memory.subarray(100 + length).every((byte) => byte === 0xee)).toBe(true);
    }
    // Memory may be short, but not for all of a file that was written a moment ago.
    expect(answeredAtOnce).toBeGreaterThan(0);
  });

  test("see a write as soon as it has settled", async () => {
    const device = await openDevice(temporaryFile(64 * KiB));
    for (let value = 1; value < 50; value += 1) {
      await device.write?.(value * 512, [Buffer.alloc(512, value)]);
      const into = Buffer.alloc(512);
      await device.read(value * 512, [into]);
      expect(into.every((byte) => byte === value)).toBe(true);
    }
  });

  test("a file that was cut short is still an error", async () => {
    const filename = temporaryFile(pattern(64 * KiB));
    const device = await openDevice(filename);
    fs.truncateSync(filename, 10 * KiB);
    await expect((async () => device.read(8 * KiB, [Buffer.alloc(4 * KiB)]))()).rejects.toMatchObject({
      code: "EIO",
    });
  });

  test("large reads and vectors go through the thread pool, so that nobody waits for their copying", async () => {
    const device = await openDevice(temporaryFile(pattern(512 * KiB)));
    const large = device.read(0, [Buffer.alloc(256 * KiB + 1)]);
    const vector = device.read(0, [Buffer.alloc(10), Buffer.alloc(10)]);
    expect(isPromise(large)).toBe(true);
    expect(isPromise(vector)).toBe(true);
    const together = device.read(0, [Buffer.alloc(64 * KiB)], { batch: true });
    expect(isPromise(together)).toBe(true);
    await Promise.all([large, vector, together]);
  });

  test("a turn of the event loop has an end, whoever reads", async () => {
    const device = await openDevice(temporaryFile(pattern(256 * KiB)));
    const reads = Array.from({ length: 64 }, () => device.read(0, [Buffer.alloc(256 * KiB)]));
    expect(reads.some((read) => isPromise(read))).toBe(true);
    await Promise.all(reads);
  });

  test("what is in memory in part is read in full", async () => {
    const content = pattern(256 * KiB);
    const filename = temporaryFile(content);
    const device = await openDevice(filename);
    for (const skip of [1, 3, 0]) {
      fs.fsyncSync(fs.openSync(filename, "r+"));
      // Has the kernel forget a range, where it can.
      execFileSync(
        "dd",
        [`if=${filename}`, "of=/dev/null", "iflag=nocache", "bs=64k", `skip=${skip}`, "count=1"],
        {
          stdio: "ignore",
        },
      );
      const into = Buffer.alloc(256 * KiB);
      await device.read(0, [into]);
      expect(into.equals(content)).toBe(true);
    }
  });

  test("a program that brought its own calls sees every read", async () => {
    let reads = 0;
    const device = await openDevice(temporaryFile(pattern(8 * KiB)), {
      calls: {
        read(fd, into, at, length, position, done) {
          reads += 1;
          fs.read(fd, into, at, length, position, done);
        },
      },
    });
    for (let index = 0; index < 5; index += 1) await device.read(0, [Buffer.alloc(4096)]);
    expect(reads).toBe(5);
  });
});
