import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import * as fc from "fast-check";
import { afterAll, describe, expect, test, vi } from "vitest";
import { READ_ONLY_CAPABILITIES, type BlockDevice } from "../../src/index.ts";
import type { FileOps } from "../../src/drivers/file/file-ops.ts";
import { RangeCopier } from "../../src/drivers/file/range-copier.ts";
import { systemError } from "../../src/drivers/file/system-error.ts";
import {
  lacksNative,
  mountTmpfs,
  onCleanup,
  openDevice,
  openNative,
  openWritable,
  pattern,
  readBack,
  SEED,
  temporaryDirectory,
  temporaryFile,
  wholeStatus,
} from "./support.ts";

const MiB = 1024 * 1024;

describe.skipIf(lacksNative)("copying inside the kernel", () => {
  test("any ranges of two files arrive where they belong, and nothing else changes", async () => {
    const size = 300_000;
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.tuple(fc.integer({ min: 0, max: size }), fc.integer({ min: 0, max: size }), fc.nat(100_000)),
          {
            maxLength: 8,
          },
        ),
        async (copies) => {
          const content = pattern(size, 3);
          const model = pattern(size, 4);
          const source = await openDevice(temporaryFile(content), { readOnly: true });
          const target = await openNative(temporaryFile(model));
          for (const [from, to, wanted] of copies) {
            const length = Math.min(wanted, size - from, size - to);
            expect(await target.copyRange(to, source, from, length)).toBe(length);
            content.copy(model, to, from, from + length);
          }
          expect((await readBack(target, 0, size)).equals(model)).toBe(true);
          await source.close();
          await target.close();
        },
      ),
      { seed: SEED, numRuns: 25 },
    );
  });

  test("a copy counts as a write: the next flush makes it durable", async () => {
    let syncs = 0;
    const source = await openDevice(temporaryFile(pattern(MiB)), { readOnly: true });
    const target = await openNative(temporaryFile(MiB), {
      calls: {
        fdatasync(fd, done) {
          syncs += 1;
          fs.fdatasync(fd, done);
        },
      },
    });
    await target.flush();
    await target.copyRange(0, source, 0, MiB);
    await target.flush();
    expect(syncs).toBe(2);
  });

  test("what is not a file of this driver, or has no such help, is left to the caller", async () => {
    const target = await openNative(temporaryFile(MiB));
    const foreign: BlockDevice = {
      info: { ...target.info, can: READ_ONLY_CAPABILITIES },
      read: () => {},
      status: () => {},
      close: () => Promise.resolve(),
    };
    expect(await target.copyRange(0, foreign, 0, MiB)).toBe(0);
    const plain = await openWritable(temporaryFile(pattern(MiB)), { native: false });
    expect(await target.copyRange(0, plain, 0, MiB)).toBe(MiB);
    expect("copyRange" in plain).toBe(false);
  });

  test("files on different file systems are copied as well, at any offset", async (context) => {
    const directory = mountTmpfs(4 * MiB);
    if (directory === undefined) return context.skip();
    const source = await openDevice(temporaryFile(pattern(MiB), directory), { readOnly: true });
    const target = await openNative(temporaryFile(2 * MiB));
    const model = Buffer.alloc(2 * MiB);
    for (const [to, from, length] of [
      [0, 0, MiB],
      [MiB + 13, 7, 100_000],
      [5000, 1, 3],
    ] as const) {
      expect(await target.copyRange(to, source, from, length)).toBe(length);
      pattern(MiB).copy(model, to, from, from + length);
    }
    expect((await readBack(target, 0, 2 * MiB)).equals(model)).toBe(true);
    await target.close();
    await source.close();
  });

  test("a source that another program shortened yields what is there", async () => {
    const filename = temporaryFile(pattern(MiB));
    const source = await openDevice(filename, { readOnly: true });
    const target = await openNative(temporaryFile(MiB));
    fs.truncateSync(filename, 10_000);
    expect(await target.copyRange(0, source, 0, MiB)).toBe(10_000);
    expect(await target.copyRange(20_000, source, 20_000, 1000)).toBe(0);
  });

  test("no space is an error", async (context) => {
    const directory = mountTmpfs(MiB);
    if (directory === undefined) return context.skip();
    const source = path.join(directory, "source");
    fs.writeFileSync(source, pattern(MiB / 2));
    const target = await openNative(temporaryFile(4 * MiB, directory));
    const device = await openDevice(source, { readOnly: true });
    const copy = async (): Promise<number> => {
      let sum = 0;
      // The kernel may report a part first; the rest then fails.
      for (let at = 0; at < 4 * MiB; at += MiB / 2) sum += await target.copyRange(at, device, 0, MiB / 2);
      return sum;
    };
    await expect(copy()).rejects.toMatchObject({ code: "ENOSPC", operation: "copyRange" });
  });

  test("a closed source or target is refused", async () => {
    const source = await openDevice(temporaryFile(MiB), { readOnly: true });
    const target = await openNative(temporaryFile(MiB));
    await source.close();
    const shut = expect.objectContaining({ code: "ESHUTDOWN" });
    expect(() => target.copyRange(0, source, 0, 10)).toThrow(shut);
    await target.close();
    expect(() => target.copyRange(0, source, 0, 10)).toThrow(shut);
  });

  test.for(["xfs", "btrfs"])(
    "where the file system can (%s), space is shared instead of copied",
    async (type, context) => {
      const directory = mountImage(type);
      if (directory === undefined) return context.skip();
      const size = 16 * MiB;
      const source = await openWritable(path.join(directory, await file(directory, "source", size)));
      await source.write(0, [pattern(size)]);
      await source.flush();
      const target = await openNative(path.join(directory, await file(directory, "target", size)));
      const free = (): number => fs.statfsSync(directory).bavail * fs.statfsSync(directory).bsize;
      const before = free();
      expect(await target.copyRange(0, source, 0, size)).toBe(size);
      await target.flush();
      expect(before - free()).toBeLessThan(size / 4);
      expect((await readBack(target, 0, size)).equals(pattern(size))).toBe(true);
      // Unaligned ranges cannot be shared, and are copied.
      expect(await target.copyRange(5, source, 7, 1000)).toBe(1000);
      expect((await readBack(target, 5, 1000)).equals(pattern(size).subarray(7, 1007))).toBe(true);
      expect(await wholeStatus(target)).toEqual([{ offset: 0, length: size, zero: false }]);
      expect((await readBack(source, 0, size)).equals(pattern(size))).toBe(true);
      await source.close();
      await target.close();
    },
  );
});

async function file(directory: string, name: string, size: number): Promise<string> {
  await fs.promises.writeFile(path.join(directory, name), "");
  await fs.promises.truncate(path.join(directory, name), size);
  return name;
}

/** A file system of that type in a file of its own, mounted; undefined after saying why not. */
function mountImage(type: string): string | undefined {
  const directory = temporaryDirectory();
  const image = `${directory}.img`;
  try {
    fs.writeFileSync(image, "");
    fs.truncateSync(image, 400 * MiB);
    onCleanup(() => fs.rmSync(image, { force: true }));
    execFileSync(`mkfs.${type}`, ["-q", image], { stdio: "pipe" });
    execFileSync("mount", ["-o", "loop", image, directory], { stdio: "pipe" });
  } catch (error) {
    // Not a peer: nothing but this one shortcut goes untested without it.
    console.warn(`SKIPPED, sharing space on ${type}: ${String(error).split("\n")[0]}`);
    return undefined;
  }
  onCleanup(() => void execFileSync("umount", ["-l", directory]));
  return directory;
}

function unused(): never {
  throw new Error("not used by copies");
}

/** Operations of which only the copies exist; they fail or answer as told, and are recorded. */
function scripted(script: { readonly copy?: readonly number[]; readonly send?: readonly number[] }): {
  readonly ops: FileOps;
  readonly log: readonly string[];
} {
  const copy = [...(script.copy ?? [])];
  const send = [...(script.send ?? [])];
  const log: string[] = [];
  const ops: FileOps = {
    nextData: unused,
    startWriteback: unused,
    nextHole: unused,
    end: unused,
    punchHole: unused,
    zeroRange: unused,
    allocate: unused,
    setLock: unused,
    isLockedByOther: unused,
    seekTo(_fd, offset): void {
      log.push(`seek ${offset}`);
    },
    ...(script.send !== undefined && {
      async sendRange(_target: number, _source: number, offset: number, length: number): Promise<number> {
        log.push(`send ${offset} ${length}`);
        const answer = send.shift() ?? 0;
        if (answer < 0) throw systemError("sendfile", -answer);
        return answer;
      },
    }),
    async copyRange({ sourceOffset, targetOffset, length }): Promise<number> {
      log.push(`copy ${sourceOffset} ${targetOffset} ${length}`);
      const answer = copy.shift() ?? 0;
      if (answer < 0) throw systemError("copy_file_range", -answer);
      return answer;
    },
  };
  return { ops, log };
}

describe("choosing the way to copy", () => {
  const range = { sourceFd: 1, sourceOffset: 0, targetOffset: 0, length: 1000 };
  // Sending opens the target once more, so there has to be one.
  const targetFd = fs.openSync(temporaryFile(MiB), "r+");
  afterAll(() => fs.closeSync(targetFd));

  const EIO = 5;
  const EXDEV = 18;
  const EINVAL = 22;
  const ENOSPC = 28;
  const EOPNOTSUPP = 95;

  test("a pair that cannot is asked once", async () => {
    const { ops, log } = scripted({ copy: [-EXDEV] });
    const copier = new RangeCopier(ops, targetFd);
    const source = {};
    expect(await copier.copy(source, range)).toBe(0);
    expect(await copier.copy(source, range)).toBe(0);
    expect(log).toEqual(["copy 0 0 1000"]);
  });

  test("between file systems the bytes are sent, and the other ways are not tried again", async () => {
    const { ops, log } = scripted({ copy: [-EXDEV], send: [600, 400, 1000] });
    const copier = new RangeCopier(ops, targetFd);
    const source = {};
    expect(await copier.copy(source, { ...range, targetOffset: 70 })).toBe(1000);
    expect(await copier.copy(source, { ...range, sourceOffset: 5 })).toBe(1000);
    expect(log).toEqual([
      "copy 0 70 1000",
      "seek 70",
      "send 0 1000",
      "send 600 400",
      "seek 0",
      "send 5 1000",
    ]);
    await copier.close();
  });

  test("a pair that cannot be sent either is asked once", async () => {
    const { ops, log } = scripted({ copy: [-EXDEV], send: [-EINVAL, -EOPNOTSUPP] });
    const copier = new RangeCopier(ops, targetFd);
    const source = {};
    for (let time = 0; time < 3; time += 1) expect(await copier.copy(source, range)).toBe(0);
    expect(log.filter((line) => line.startsWith("send"))).toHaveLength(2);
    await copier.close();
  });

  test("no more than two copies into one file run at a time, in the order they came", async () => {
    const { ops } = scripted({});
    const running: (() => void)[] = [];
    const begun: number[] = [];
    const slow: FileOps = {
      ...ops,
      copyRange: ({ sourceOffset, length }) =>
        new Promise((resolve) => {
          begun.push(sourceOffset);
          running.push(() => resolve(length));
        }),
    };
    const copier = new RangeCopier(slow, targetFd);
    const source = {};
    const copies = [0, 1, 2, 3].map((at) => copier.copy(source, { ...range, sourceOffset: at }));
    await vi.waitFor(() => expect(running).toHaveLength(2));
    for (let next = 0; next < 4; next += 1) {
      await vi.waitFor(() => expect(running.length).toBeGreaterThan(next));
      expect(begun).toEqual([0, 1, 2, 3].slice(0, Math.min(4, next + 2)));
      running[next]?.();
      await copies[next];
    }
    expect(await Promise.all(copies)).toEqual([1000, 1000, 1000, 1000]);
  });

  test("a range that does not suit says nothing about the next", async () => {
    const { ops, log } = scripted({ copy: [-EINVAL, 1000] });
    const copier = new RangeCopier(ops, targetFd);
    const source = {};
    expect(await copier.copy(source, range)).toBe(0);
    expect(await copier.copy(source, range)).toBe(1000);
    expect(log).toEqual(["copy 0 0 1000", "copy 0 0 1000"]);
  });

  test("short copies are continued", async () => {
    const { ops, log } = scripted({ copy: [300, 300, 400] });
    expect(await new RangeCopier(ops, targetFd).copy({}, { ...range, targetOffset: 50 })).toBe(1000);
    expect(log).toEqual(["copy 0 50 1000", "copy 300 350 700", "copy 600 650 400"]);
  });

  test("what was copied before the way ended is reported", async () => {
    const { ops } = scripted({ copy: [300, -EOPNOTSUPP] });
    expect(await new RangeCopier(ops, targetFd).copy({}, range)).toBe(300);
  });

  test.each([
    ["EIO", EIO],
    ["ENOSPC", ENOSPC],
  ])("%s is a failure, not a reason to try otherwise", async (code, errno) => {
    const copying = new RangeCopier(scripted({ copy: [-errno] }).ops, targetFd);
    await expect(copying.copy({}, range)).rejects.toMatchObject({ code });
  });
});
