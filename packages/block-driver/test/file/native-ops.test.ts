import fs from "node:fs";
import { describe, expect, test } from "vitest";
import type { FileOps } from "../../src/drivers/file/file-ops.ts";
import { loadFileOps } from "../../src/drivers/file/load-file-ops.ts";
import { systemError } from "../../src/drivers/file/system-error.ts";
import { lacksNative, onCleanup, pattern, temporaryFile } from "./support.ts";

async function nativeOps(): Promise<FileOps> {
  const ops = await loadFileOps();
  if (ops === undefined) throw new Error("no native operations");
  return ops;
}

function open(filename: string, flags = "r+"): number {
  const fd = fs.openSync(filename, flags);
  onCleanup(() => fs.closeSync(fd));
  return fd;
}

describe.skipIf(lacksNative)("native operations", () => {
  test("each of many concurrent calls gets its own errno", async () => {
    const ops = await nativeOps();
    const good = open(temporaryFile(pattern(100_000)));
    const readOnly = open(temporaryFile(100), "r");
    const codes = await Promise.all(
      Array.from({ length: 300 }, async (_, index) => {
        // The main thread's own failing calls in between must not leak into the answers.
        if (index % 7 === 0) expect(ops.nextData(good, 1e9)).toBeUndefined();
        const attempts = [
          () => ops.punchHole(good, index * 100, 50),
          () => ops.punchHole(good, -5, 50),
          () => ops.punchHole(readOnly, 0, 50),
          () => ops.punchHole(2_000_000, 0, 50),
          () => ops.allocate(good, 2 ** 53 - 10, 5),
        ];
        try {
          await attempts[index % attempts.length]?.();
          return "ok";
        } catch (error) {
          return error instanceof Error && "code" in error ? error.code : error;
        }
      }),
    );
    const expected = ["ok", "EINVAL", "EBADF", "EBADF", "EFBIG"];
    codes.forEach((code, index) => expect(code).toBe(expected[index % expected.length]));
  });

  test("seeks find data, holes and the end, and nothing behind it", async () => {
    const ops = await nativeOps();
    const filename = temporaryFile(1024 * 1024);
    const fd = open(filename);
    fs.writeSync(fd, pattern(65_536), 0, 65_536, 131_072);
    expect(ops.nextData(fd, 0)).toBe(131_072);
    expect(ops.nextData(fd, 140_000)).toBe(140_000);
    expect(ops.nextHole(fd, 131_072)).toBe(196_608);
    expect(ops.nextHole(fd, 0)).toBe(0);
    expect(ops.nextData(fd, 500_000)).toBeUndefined();
    expect(ops.nextHole(fd, 2_000_000)).toBeUndefined();
    expect(ops.end(fd)).toBe(1024 * 1024);
    expect(() => ops.end(2_000_000)).toThrow(expect.objectContaining({ code: "EBADF" }));
  });

  test("offsets beyond 32 bits and near the greatest exact number arrive unchanged", async () => {
    const ops = await nativeOps();
    const size = 10 * 1024 ** 4;
    const fd = open(temporaryFile(size));
    const far = size - 65_536;
    fs.writeSync(fd, pattern(4096), 0, 4096, far);
    expect(ops.nextData(fd, 5)).toBe(far);
    await ops.punchHole(fd, far, 4096);
    expect(ops.nextData(fd, 5)).toBeUndefined();
    expect(ops.nextData(fd, Number.MAX_SAFE_INTEGER)).toBeUndefined();
  });

  test("locks of one open file description are seen by another, not by itself", async () => {
    const ops = await nativeOps();
    const filename = temporaryFile(1000);
    const [one, two] = [open(filename), open(filename)];
    ops.setLock(one, 101, "shared");
    ops.setLock(two, 101, "shared");
    ops.setLock(two, 101, "unlock");
    expect(ops.isLockedByOther(one, 101)).toBe(false);
    expect(ops.isLockedByOther(two, 101)).toBe(true);
    expect(ops.isLockedByOther(two, 100)).toBe(false);
    expect(ops.isLockedByOther(two, 102)).toBe(false);
    ops.setLock(one, 101, "unlock");
    expect(ops.isLockedByOther(two, 101)).toBe(false);
  });
});

describe("system errors", () => {
  test("look like Node's", () => {
    expect(systemError("fallocate", 28)).toMatchObject({
      code: "ENOSPC",
      errno: -28,
      syscall: "fallocate",
      message: "ENOSPC: no space left on device, fallocate",
    });
    expect(systemError("fallocate", 12_345).code).toBe("E12345");
  });
});
