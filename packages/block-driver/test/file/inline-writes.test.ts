import fs from "node:fs";
import os from "node:os";
import { describe, expect, test } from "vitest";
import { DirtyRoom } from "../../src/drivers/file/dirty-room.ts";
import { InlineWrites, type InlineHost } from "../../src/drivers/file/inline-writes.ts";
import { TurnBudget } from "../../src/drivers/file/turn-budget.ts";
import { isPromise } from "../../src/index.ts";
import { lacksNative, mountTmpfs, openWritable, pattern, temporaryFile } from "./support.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

/** Whether a file in the temporary directory is one that small writes are made to at once, where `/proc` tells so. */
const isLocal =
  process.platform === "linux" && [0xef53, 0x58465342, 0x01021994].includes(fs.statfsSync(os.tmpdir()).type);

describe("small writes of whole pages", () => {
  test("hold what was written, whoever makes them", async () => {
    for (const aio of ["auto", "threads"] as const) {
      const filename = temporaryFile(pattern(256 * KiB));
      const device = await openWritable(filename, { aio });
      const expected = pattern(256 * KiB);
      for (const [offset, length] of [
        [0, 4 * KiB],
        [100 * KiB, 16 * KiB],
        [252 * KiB, 4 * KiB],
        [64 * KiB, 64 * KiB],
        [0, 128 * KiB],
        [5, 4 * KiB],
      ] as const) {
        const bytes = Buffer.alloc(length, offset % 251);
        await device.write(offset, [bytes.subarray(0, 1000), bytes.subarray(1000)]);
        bytes.copy(expected, offset);
      }
      expect(fs.readFileSync(filename).equals(expected)).toBe(true);
    }
  });

  test.runIf(isLocal)("settle at once; any others do not", async () => {
    const device = await openWritable(temporaryFile(pattern(256 * KiB)));
    const atOnce = async (offset: number, ...lengths: number[]): Promise<boolean> => {
      const result = device.write(
        offset,
        lengths.map((length) => Buffer.alloc(length)),
      );
      await result;
      return !isPromise(result);
    };
    // The machine may be held up for a moment, but not each time.
    const tries = await Promise.all([0, 1, 2, 3].map((index) => atOnce(index * 4 * KiB, 4 * KiB)));
    expect(tries).toContain(true);
    expect(await atOnce(0, 4 * KiB - 1)).toBe(false);
    expect(await atOnce(512, 4 * KiB)).toBe(false);
    expect(await atOnce(0, 68 * KiB)).toBe(false);
  });

  test.runIf(isLocal && !lacksNative)("leave to threads what goes together with others", async () => {
    const device = await openWritable(temporaryFile(pattern(256 * KiB)));
    const together = device.write(0, [Buffer.alloc(20 * KiB)], { batch: true });
    expect(isPromise(together)).toBe(true);
    await together;
  });

  test("go through the thread pool when that is asked for", async () => {
    const device = await openWritable(temporaryFile(MiB), { aio: "threads" });
    const result = device.write(0, [Buffer.alloc(4 * KiB)]);
    expect(isPromise(result)).toBe(true);
    await result;
  });

  test("a program that brought its own calls sees every write", async () => {
    let writes = 0;
    const device = await openWritable(temporaryFile(64 * KiB), {
      calls: {
        write(fd, from, at, length, position, done) {
          writes += 1;
          fs.write(fd, from, at, length, position, done);
        },
      },
    });
    for (let index = 0; index < 5; index += 1) await device.write(0, [Buffer.alloc(4096)]);
    expect(writes).toBe(5);
  });

  test("are covered by the next flush, and wait in no flush that runs", async () => {
    const device = await openWritable(temporaryFile(64 * KiB));
    await device.flush();
    expect(device.flush(), "nothing has changed").toBeUndefined();
    await device.write(0, [Buffer.alloc(4 * KiB, 1)]);
    const flush = device.flush();
    expect(isPromise(flush)).toBe(true);
    const write = device.write(0, [Buffer.alloc(4 * KiB, 2)]);
    expect(isPromise(write)).toBe(true);
    await Promise.all([flush, write]);
    expect(isPromise(device.flush())).toBe(true);
  });

  test("a full file system is an error as ever", async (context) => {
    const directory = mountTmpfs(MiB);
    if (directory === undefined) return context.skip();
    const device = await openWritable(temporaryFile(4 * MiB, directory));
    const fill = async (): Promise<void> => {
      for (let at = 0; at < 4 * MiB; at += 4 * KiB) await device.write(at, [Buffer.alloc(4 * KiB, 7)]);
    };
    await expect(fill).rejects.toMatchObject({ code: "ENOSPC" });
  });

  test("a writer that never waits for anything else does not keep timers from running", async () => {
    const device = await openWritable(temporaryFile(MiB));
    const page = Buffer.alloc(4 * KiB, 5);
    const timer = new AbortController();
    setTimeout(() => timer.abort(), 0);
    for (let writes = 0; writes < 1_000_000 && !timer.signal.aborted; writes += 1) {
      await device.write((writes % 256) * 4 * KiB, [page]);
    }
    expect(timer.signal.aborted).toBe(true);
  });
});

describe("deciding who makes a write", () => {
  /** A host in which every write takes `tookMs`. */
  class FakeHost implements InlineHost {
    nowMs = 1000;
    tookMs = 0;
    takes: number | "error" = 4096;
    roomy = true;
    turnHasMore = true;
    writes = 0;
    readonly room = { hasRoom: (): boolean => this.roomy };
    readonly budget = { spend: (): boolean => this.turnHasMore };
    readonly now = (): number => this.nowMs;
    readonly write = (): number => {
      this.writes += 1;
      this.nowMs += this.tookMs;
      if (this.takes === "error") throw new Error("EIO");
      return this.takes;
    };
  }
  const page = [Buffer.alloc(4096)];

  test("a kernel without room and a turn that is over leave it to the thread pool", () => {
    const host = new FakeHost();
    const file = new InlineWrites(3, host);
    host.roomy = false;
    expect(file.write(0, page)).toBe(false);
    host.roomy = true;
    host.turnHasMore = false;
    expect(file.write(0, page)).toBe(false);
    host.turnHasMore = true;
    expect(host.writes).toBe(0);
    expect(file.write(0, page)).toBe(true);
  });

  test("a short write and an error are for the thread pool to repeat", () => {
    const host = new FakeHost();
    const file = new InlineWrites(3, host);
    host.takes = 100;
    expect(file.write(0, page)).toBe(false);
    host.takes = "error";
    expect(file.write(0, page)).toBe(false);
  });

  test("a file that was held up rests, longer each time, and is quick again after a calm while", () => {
    const host = new FakeHost();
    const file = new InlineWrites(3, host);
    /** How long the file rests after a slow write, in steps of 50 ms. */
    const restAfterSlowWrite = (): number => {
      host.tookMs = 30;
      expect(file.write(0, page)).toBe(true);
      host.tookMs = 0;
      const sinceMs = host.nowMs;
      while (!file.write(0, page)) host.nowMs += 50;
      return host.nowMs - sinceMs;
    };
    expect(restAfterSlowWrite()).toBe(250);
    expect(restAfterSlowWrite()).toBe(500);
    expect(restAfterSlowWrite()).toBe(1000);
    for (let more = 0; more < 8; more += 1) restAfterSlowWrite();
    expect(restAfterSlowWrite(), "never longer than half a minute").toBe(30_000);
    host.nowMs += 6000;
    expect(restAfterSlowWrite()).toBe(250);
  });
});

/** What the kernel says with so many pages dirty, and so many being written out. */
const vmstat = (dirty: number, writeback: number): string =>
  `nr_free_pages 5\nnr_dirty ${dirty}\nnr_writeback ${writeback}\nnr_writeback_temp 0\nnr_dirty_threshold 3000\nnr_dirty_background_threshold 1000\n`;

describe("room for dirty pages", () => {
  test("ends well before the kernel holds writers up, which it does from 2000 pages on here", () => {
    expect(new DirtyRoom(() => vmstat(1000, 399)).hasRoom(0)).toBe(true);
    expect(new DirtyRoom(() => vmstat(1000, 400)).hasRoom(0)).toBe(false);
    expect(new DirtyRoom(() => vmstat(1400, 0)).hasRoom(0)).toBe(false);
  });

  test("is not there where it cannot be told", () => {
    expect(new DirtyRoom(() => "nr_dirty 0\n").hasRoom(0)).toBe(false);
    const room = new DirtyRoom(() => {
      throw new Error("no /proc");
    });
    expect(room.hasRoom(0)).toBe(false);
  });

  test("is asked for ten times a second", () => {
    let asked = 0;
    let dirty = 0;
    const room = new DirtyRoom(() => {
      asked += 1;
      return vmstat(dirty, 0);
    });
    for (let nowMs = 0; nowMs < 100; nowMs += 1) expect(room.hasRoom(nowMs)).toBe(true);
    expect(asked).toBe(1);
    dirty = 5000;
    expect(room.hasRoom(100)).toBe(false);
    expect(asked).toBe(2);
  });
});

test("a turn of the event loop has an end", () => {
  let renew: (() => void) | undefined;
  const budget = new TurnBudget(256 * KiB, (next) => (renew = next));
  let bytes = 0;
  while (budget.spend(4 * KiB)) bytes += 4 * KiB;
  expect(bytes).toBe(256 * KiB);
  renew?.();
  expect(budget.spend(4 * KiB)).toBe(true);
});
