import fs from "node:fs";
import { describe, expect, test } from "vitest";
import { ExtentList, type DoneCallback, type FileCalls } from "../../src/index.ts";
import { BACKENDS, openDevice, openWritable, pattern, readBack, temporaryFile } from "./support.ts";

/** Counts syncs, and fails or holds them back on demand. */
class SyncControl {
  syncs = 0;
  failWith: string | undefined;
  readonly calls: Partial<FileCalls> = {
    fdatasync: (fd, done) => {
      this.syncs += 1;
      const code = this.failWith;
      if (code === undefined) fs.fdatasync(fd, done);
      else process.nextTick(done, Object.assign(new Error(`${code}: made to fail`), { code }));
    },
  };
}

/** Holds every write back until it is released. */
class HeldWrites {
  readonly held: (() => void)[] = [];
  readonly calls: Partial<FileCalls> = {
    write: (fd, from, at, length, position, done) => {
      this.held.push(() => fs.write(fd, from, at, length, position, done));
    },
  };
}

const fenced = expect.objectContaining({ code: "BLK_FENCED" });

describe.each(BACKENDS)("flush and close ($backend)", ({ native }) => {
  test("a flush syncs once for everything that settled before it", async () => {
    const control = new SyncControl();
    const device = await openWritable(temporaryFile(1000), { native, calls: control.calls });
    // What was written before the opening is not known to be durable.
    await device.flush();
    expect(control.syncs).toBe(1);
    await device.flush();
    expect(control.syncs).toBe(1);
    await device.write(0, [pattern(10)]);
    await device.write(100, [pattern(10)]);
    await device.flush();
    await device.flush();
    expect(control.syncs).toBe(2);
    await device.resize(2000);
    await device.flush();
    expect(control.syncs).toBe(3);
  });

  test("a write that settles while a flush runs is left to the next flush", async () => {
    let finish: (() => void) | undefined;
    let syncs = 0;
    const calls = {
      fdatasync(fd: number, done: DoneCallback): void {
        syncs += 1;
        finish = () => fs.fdatasync(fd, done);
      },
    };
    const device = await openWritable(temporaryFile(1000), { native, calls });
    const first = device.flush();
    await device.write(0, [pattern(10)]);
    finish?.();
    await first;
    const second = device.flush();
    expect(syncs).toBe(2);
    finish?.();
    await second;
    await device.flush();
    expect(syncs).toBe(2);
  });

  test("a failed write counts as a change, because a part may have been written", async () => {
    const control = new SyncControl();
    const device = await openWritable(temporaryFile(1000), {
      native,
      calls: {
        ...control.calls,
        write: (_fd, _from, _at, _length, _position, done) =>
          process.nextTick(done, Object.assign(new Error("EIO"), { code: "EIO" }), 0),
      },
    });
    await device.flush();
    await expect(device.write(0, [pattern(10)])).rejects.toMatchObject({ code: "EIO" });
    await device.flush();
    expect(control.syncs).toBe(2);
  });

  test.each(["EIO", "ENOSPC"])("after a flush that failed with %s every request is refused", async (code) => {
    const control = new SyncControl();
    const device = await openWritable(temporaryFile(1000), { native, calls: control.calls });
    await device.write(0, [pattern(10)]);
    control.failWith = code;
    await expect(device.flush()).rejects.toMatchObject({ code, operation: "flush" });
    // The kernel would report success now, though the data is gone.
    control.failWith = undefined;
    expect(() => device.flush()).toThrow(fenced);
    expect(() => device.read(0, [Buffer.alloc(1)])).toThrow(fenced);
    expect(() => device.write(0, [Buffer.alloc(1)])).toThrow(fenced);
    expect(() => device.status(0, 10, new ExtentList())).toThrow(fenced);
    await expect(device.resize(5)).rejects.toThrow(fenced);
    if (native) expect(() => device.writeZeroes?.(0, 10)).toThrow(fenced);
    expect(control.syncs).toBe(1);
    await expect(device.close()).rejects.toThrow(fenced);
    const again = await openDevice(device.info.label, { native });
    await readBack(again, 0, 10);
  });

  test("an interrupted flush is repeated", async () => {
    let interrupts = 2;
    const calls = {
      fdatasync(fd: number, done: DoneCallback): void {
        interrupts -= 1;
        if (interrupts < 0) fs.fdatasync(fd, done);
        else process.nextTick(done, Object.assign(new Error("EINTR"), { code: "EINTR" }));
      },
    };
    const device = await openWritable(temporaryFile(1000), { native, calls });
    await device.flush();
    expect(interrupts).toBe(-1);
  });

  test("closing flushes what was written, and only then", async () => {
    const control = new SyncControl();
    const device = await openWritable(temporaryFile(1000), { native, calls: control.calls });
    await device.write(0, [pattern(10)]);
    await device.close();
    expect(control.syncs).toBe(1);
    const idle = await openWritable(temporaryFile(1000), { native, calls: control.calls });
    await idle.close();
    expect(control.syncs).toBe(1);
  });

  test("closing fails, every time it is asked, when its flush fails; the descriptor is released", async () => {
    const control = new SyncControl();
    const before = fs.readdirSync("/proc/self/fd").length;
    const device = await openWritable(temporaryFile(1000), { native, calls: control.calls });
    await device.write(0, [pattern(10)]);
    control.failWith = "EIO";
    await expect(device.close()).rejects.toMatchObject({ code: "EIO" });
    await expect(device.close()).rejects.toMatchObject({ code: "EIO" });
    expect(fs.readdirSync("/proc/self/fd").length).toBe(before);
  });

  test("closing is idempotent and refuses what comes after", async () => {
    const device = await openWritable(temporaryFile(1000), { native });
    await Promise.all([device.close(), device.close()]);
    await device.close();
    const shut = expect.objectContaining({ code: "ESHUTDOWN" });
    expect(() => device.read(0, [Buffer.alloc(1)])).toThrow(shut);
    expect(() => device.write(0, [Buffer.alloc(1)])).toThrow(shut);
    expect(() => device.flush()).toThrow(shut);
    expect(() => device.status(0, 1, new ExtentList())).toThrow(shut);
    await expect(device.resize(5)).rejects.toThrow(shut);
  });

  test("closing waits for the requests in flight", async () => {
    const writes = new HeldWrites();
    const filename = temporaryFile(1000);
    const device = await openWritable(filename, { native, calls: writes.calls });
    const order: string[] = [];
    const written = [0, 100].map(async (offset) => {
      await device.write(offset, [pattern(50)]);
      order.push("written");
    });
    const closed = device.close().then(() => order.push("closed"));
    await new Promise((resolve) => setImmediate(resolve));
    expect(order).toEqual([]);
    for (const release of writes.held) release();
    await Promise.all([...written, closed]);
    expect(order).toEqual(["written", "written", "closed"]);
    expect(fs.readFileSync(filename).subarray(100, 150).equals(pattern(50))).toBe(true);
  });
});
