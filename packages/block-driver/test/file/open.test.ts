import { execFileSync } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { describe, expect, test, vi } from "vitest";
import { BlockGraph, createFileDriver, DriverRegistry, fileDriver } from "../../src/index.ts";
import {
  BACKENDS,
  lacksNative,
  mountTmpfs,
  onCleanup,
  openContext,
  openDevice,
  openWritable,
  pattern,
  readBack,
  skipLoudly,
  temporaryDirectory,
  temporaryFile,
} from "./support.ts";

const MUTATING = ["write", "writeZeroes", "discard", "flush", "resize", "copyRange"] as const;

function descriptors(): number {
  return fs.readdirSync("/proc/self/fd").length;
}

function parse(input: Readonly<Record<string, unknown>>): unknown {
  return fileDriver.options.parse(input, "x");
}

describe.each(BACKENDS)("opening ($backend)", ({ native }) => {
  test("tells what it opened", async () => {
    const filename = temporaryFile(12_345);
    const { info } = await openDevice(filename, { native });
    const { dev, ino } = fs.statSync(filename, { bigint: true });
    expect(info).toMatchObject({
      driver: "file",
      label: filename,
      filename,
      size: 12_345,
      readOnly: false,
      identity: `file:${dev}:${ino}`,
      align: { read: 1, write: 1, zero: 1, discard: 1 },
      allocatedSize: 0,
      details: { kind: "regular", native },
    });
    expect(info.can).toMatchObject({ write: true, flush: true, resize: "both", fua: false, lend: native });
  });

  test.each([false, true])("methods are there exactly as announced (read-only: %s)", async (readOnly) => {
    const device = await openDevice(temporaryFile(4096), { native, readOnly });
    const { can } = device.info;
    expect(device.info.readOnly).toBe(readOnly);
    expect({
      write: device.write !== undefined,
      writeZeroes: device.writeZeroes !== undefined,
      discard: device.discard !== undefined,
      flush: device.flush !== undefined,
      resize: device.resize !== undefined,
      copyRange: device.copyRange !== undefined,
      lend: device.lend !== undefined,
    }).toEqual({
      write: can.write,
      writeZeroes: can.writeZeroes !== "no",
      discard: can.discard !== "no",
      flush: can.flush,
      resize: can.resize !== "no",
      copyRange: can.copyRange,
      lend: can.lend,
    });
    if (readOnly) for (const method of MUTATING) expect(method in device).toBe(false);
    if (!native) expect(can).toMatchObject({ writeZeroes: "no", discard: "no", copyRange: false });
  });

  test("a read-only device reads a file that may only be read", async () => {
    const filename = temporaryFile(pattern(1000));
    fs.chmodSync(filename, 0o444);
    const device = await openDevice(filename, { native, readOnly: true });
    expect((await readBack(device, 10, 100)).equals(pattern(1000).subarray(10, 110))).toBe(true);
  });

  test("opening for reading changes nothing about the file", async () => {
    const filename = temporaryFile(pattern(5000));
    const before = fs.statSync(filename, { bigint: true });
    await (await openDevice(filename, { native, readOnly: true })).close();
    const after = fs.statSync(filename, { bigint: true });
    expect([after.mtimeNs, after.ctimeNs, after.blocks]).toEqual([
      before.mtimeNs,
      before.ctimeNs,
      before.blocks,
    ]);
  });

  test("opening for writing changes neither content nor space, reserved space behind the end included", async () => {
    const filename = temporaryFile(pattern(5000));
    execFileSync("fallocate", ["--keep-size", "--length", "1MiB", filename]);
    const before = fs.statSync(filename);
    await (await openDevice(filename, { native })).close();
    const after = fs.statSync(filename);
    expect([after.size, after.blocks]).toEqual([before.size, before.blocks]);
    expect(fs.readFileSync(filename).equals(pattern(5000))).toBe(true);
  });

  test("a relative name is relative to the working directory, and every name of a file has its identity", async () => {
    const filename = temporaryFile(512);
    const link = path.join(path.dirname(filename), "link");
    fs.symlinkSync(filename, link);
    const relative = path.relative(process.cwd(), link);
    const device = await openDevice(relative, { native, readOnly: true });
    const other = await openDevice(filename, { native, readOnly: true });
    expect(device.info.filename).toBe(link);
    expect(device.info.identity).toBe(other.info.identity);
  });

  test("a missing file is ENOENT and says what to do", async () => {
    const filename = path.join(temporaryDirectory(), "nothing.raw");
    await expect(openDevice(filename, { native })).rejects.toMatchObject({ code: "ENOENT" });
    await expect(openDevice(filename, { native })).rejects.toThrow(/nothing\.raw does not exist; .*create/);
    await expect(openDevice(path.join(temporaryFile(1), "x"), { native })).rejects.toMatchObject({
      code: "ENOENT",
    });
    expect(fs.existsSync(filename)).toBe(false);
  });

  test("a directory, a FIFO, a character device and a socket are refused without waiting", async () => {
    const directory = temporaryDirectory();
    const fifo = path.join(directory, "fifo");
    execFileSync("mkfifo", [fifo]);
    const socket = path.join(directory, "socket");
    const server = net.createServer().listen(socket);
    await new Promise((resolve) => server.once("listening", resolve));
    onCleanup(() => void server.close());
    for (const readOnly of [true, false]) {
      await expect(openDevice(directory, { native, readOnly })).rejects.toMatchObject({ code: "EISDIR" });
      await expect(openDevice(fifo, { native, readOnly })).rejects.toMatchObject({ code: "EINVAL" });
      await expect(openDevice(fifo, { native, readOnly })).rejects.toThrow(/FIFO/);
      await expect(openDevice("/dev/null", { native, readOnly })).rejects.toThrow(/character device/);
      await expect(openDevice(socket, { native, readOnly })).rejects.toThrow(/socket/);
    }
  });

  test("a file that may not be written is EACCES, and opens read-only", async (context) => {
    const filename = temporaryFile(pattern(100));
    if (process.getuid?.() === 0) {
      try {
        execFileSync("chattr", ["+i", filename], { stdio: "pipe" });
        onCleanup(() => void execFileSync("chattr", ["-i", filename]));
      } catch {
        skipLoudly("a file without write permission", "root may write it and chattr does not work here");
        return context.skip();
      }
    } else {
      fs.chmodSync(filename, 0o444);
    }
    await expect(openDevice(filename, { native })).rejects.toMatchObject({ code: "EACCES" });
    await expect(openDevice(filename, { native })).rejects.toThrow(/open it read-only/);
    await openDevice(filename, { native, readOnly: true });
  });

  test("a file on a read-only file system is EROFS for writing", async (context) => {
    const directory = mountTmpfs(1024 * 1024);
    if (directory === undefined) return context.skip();
    const filename = temporaryFile(100, directory);
    execFileSync("mount", ["-o", "remount,ro", directory]);
    await expect(openDevice(filename, { native })).rejects.toMatchObject({ code: "EROFS" });
    await openDevice(filename, { native, readOnly: true });
  });

  test("an aborted signal ends the opening", async () => {
    const opening = openDevice(temporaryFile(1), { native, signal: AbortSignal.abort() });
    await expect(opening).rejects.toMatchObject({ code: "ECANCELED" });
  });

  test("failed openings leave no descriptor behind", async () => {
    const filename = temporaryFile(1000);
    const before = descriptors();
    for (let round = 0; round < 5; round += 1) {
      await expect(openDevice(path.dirname(filename), { native })).rejects.toThrow("directory");
      if (!native) {
        const locked = openDevice(filename, { native, locking: "on" });
        await expect(locked).rejects.toMatchObject({ code: "ENOTSUP" });
      }
    }
    expect(descriptors()).toBe(before);
  });

  test("within a graph, one file is not opened twice for writing", async () => {
    const registry = new DriverRegistry().register(createFileDriver({ native }));
    const graph = new BlockGraph({ registry });
    const filename = temporaryFile(1000);
    const spec = { driver: "file", filename };
    const node = await graph.open(spec);
    await expect(graph.open({ ...spec, readOnly: true })).rejects.toMatchObject({ code: "EBUSY" });
    await graph.close(node);
    await graph.open({ ...spec, readOnly: true });
    await graph.open({ ...spec, readOnly: true });
    await graph.closeAll();
  });
});

describe("options", () => {
  test("are checked strictly", () => {
    expect(parse({ filename: "a" })).toEqual({
      filename: "a",
      aio: "auto",
      fixed: false,
      locking: "auto",
      real: false,
    });
    for (const input of [
      {},
      { filename: "" },
      { filename: "a", locking: "maybe" },
      { filename: "a", size: 3 },
    ]) {
      expect(() => parse(input)).toThrow(expect.objectContaining({ code: "EINVAL" }));
    }
  });

  test("a fixed file keeps its size", async () => {
    const device = await openDevice(temporaryFile(1000), { fixed: true });
    expect(device.info.can.resize).toBe("no");
    expect("resize" in device).toBe(false);
  });
});

describe.skipIf(lacksNative)("BLOCKMIRROR_NO_NATIVE", () => {
  test("turns native help off for the next opening", async () => {
    const filename = temporaryFile(1000);
    const options = fileDriver.options.parse({ filename }, "test");
    vi.stubEnv("BLOCKMIRROR_NO_NATIVE", "1");
    onCleanup(() => void vi.unstubAllEnvs());
    const plain = await fileDriver.open(options, openContext(true));
    expect(plain.info.details).toMatchObject({ native: false, locked: false });
    vi.stubEnv("BLOCKMIRROR_NO_NATIVE", "0");
    const helped = await fileDriver.open(options, openContext(true));
    expect(helped.info.details).toMatchObject({ native: true });
    await plain.close();
    await helped.close();
  });

  test("both ways see the same bytes", async () => {
    const filename = temporaryFile(100_000);
    const writer = await openWritable(filename, { native: true });
    await writer.write(50_000, [pattern(10_000)]);
    const reader = await openDevice(filename, { native: false, readOnly: true });
    expect((await readBack(reader, 0, 100_000)).equals(await readBack(writer, 0, 100_000))).toBe(true);
  });
});
