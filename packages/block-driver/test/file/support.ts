import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach } from "vitest";
import {
  createFileDriver,
  ExtentFlag,
  ExtentList,
  type BlockDevice,
  type StatusOptions,
  type FileCalls,
  type OpenContext,
} from "../../src/index.ts";

/** Seed of every property test here; printed by fast-check on failure, overridable to explore. */
export const SEED: number = Number(process.env["BLOCKMIRROR_SEED"] ?? 20_261_123);

export interface OpenInit {
  readonly readOnly?: boolean;
  readonly native?: boolean;
  readonly calls?: Partial<FileCalls>;
  readonly locking?: "auto" | "on" | "off";
  readonly fixed?: boolean;
  readonly aio?: "auto" | "threads";
  readonly signal?: AbortSignal;
}

const cleanups: (() => void | Promise<void>)[] = [];

/** Runs after the test, last registered first; failures of one do not keep the others. */
export function onCleanup(cleanup: () => void | Promise<void>): void {
  cleanups.push(cleanup);
}

afterEach(async () => {
  const failures: unknown[] = [];
  for (const cleanup of cleanups.splice(0).toReversed()) {
    try {
      await cleanup();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
});

/** A directory that lives as long as the test. */
export function temporaryDirectory(under: string = os.tmpdir()): string {
  const directory = fs.mkdtempSync(path.join(under, "blockmirror-file-"));
  onCleanup(() => fs.rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A file of that content (or that many bytes of hole) in a directory of its own. */
export function temporaryFile(content: Uint8Array | number, directory?: string): string {
  const filename = path.join(directory ?? temporaryDirectory(), "image.raw");
  if (typeof content === "number") {
    fs.writeFileSync(filename, "");
    fs.truncateSync(filename, content);
  } else {
    fs.writeFileSync(filename, content);
  }
  return filename;
}

function none(): never {
  throw new Error("a protocol driver opens no children");
}

/** What the graph gives a driver to open with. */
export function openContext(readOnly: boolean, signal?: AbortSignal): OpenContext {
  return {
    nodeName: "test",
    readOnly,
    ...(signal !== undefined && { signal }),
    openChild: none,
    openImplicit: none,
    report: none,
    beginWork: none,
  };
}

/** Opens a file as a device that is closed, if it still is not, after the test. */
export async function openDevice(filename: string, init: OpenInit = {}): Promise<BlockDevice> {
  const { readOnly = false, native, calls, signal, ...rest } = init;
  const driver = createFileDriver({
    ...(native !== undefined && { native }),
    ...(calls !== undefined && { calls }),
  });
  const options = driver.options.parse({ filename, ...rest }, "test");
  const device = await driver.open(options, openContext(readOnly, signal));
  onCleanup(() => device.close().catch(() => {}));
  return device;
}

/** A device with everything that changes it and that both backends have. */
export type WritableDevice = BlockDevice & Required<Pick<BlockDevice, "write" | "flush" | "resize">>;

function isWritable(device: BlockDevice): device is WritableDevice {
  return device.write !== undefined && device.flush !== undefined && device.resize !== undefined;
}

export async function openWritable(filename: string, init: OpenInit = {}): Promise<WritableDevice> {
  const device = await openDevice(filename, init);
  if (!isWritable(device)) throw new Error(`${filename} was expected to be writable and resizable`);
  return device;
}

/** A device with everything that native help adds. */
export type NativeDevice = WritableDevice &
  Required<Pick<BlockDevice, "writeZeroes" | "discard" | "copyRange">>;

function isNative(device: WritableDevice): device is NativeDevice {
  return device.writeZeroes !== undefined && device.discard !== undefined && device.copyRange !== undefined;
}

export async function openNative(filename: string, init: OpenInit = {}): Promise<NativeDevice> {
  const device = await openWritable(filename, { ...init, native: true });
  if (!isNative(device)) throw new Error(`${filename} was expected to be open with native help`);
  return device;
}

/** Says on stderr that something is not tested here and why; an error where everything must be tested. */
export function skipLoudly(what: string, why: string): true {
  if (process.env["BLOCKMIRROR_REQUIRE_PEERS"] === "1") throw new Error(`${what} must be tested, but ${why}`);
  console.warn(`SKIPPED, ${what}: ${why}`);
  return true;
}

async function probeNative(): Promise<boolean> {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "blockmirror-probe-"));
  try {
    const filename = path.join(directory, "probe");
    fs.writeFileSync(filename, "x");
    const driver = createFileDriver();
    const options = driver.options.parse({ filename }, "probe");
    const device = await driver.open(options, openContext(true));
    await device.close();
    return device.info.details?.["native"] === true;
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

const hasNative = await probeNative();

/** For `describe.skipIf`: true, after saying so, where there is no native help. */
export const lacksNative: boolean =
  !hasNative && skipLoudly("native file operations", "koffi is missing or BLOCKMIRROR_NO_NATIVE is set");

/** Both ways the driver works; the native one only where it exists. */
export const BACKENDS: readonly { readonly backend: string; readonly native: boolean }[] = [
  ...(hasNative ? [{ backend: "native", native: true }] : []),
  { backend: "baseline", native: false },
];

/** A tmpfs of that many bytes, or undefined after saying why not. Only root may mount. */
export function mountTmpfs(bytes: number, options = ""): string | undefined {
  const directory = temporaryDirectory();
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${bytes}${options}`, "tmpfs", directory], {
      stdio: "pipe",
    });
  } catch (error) {
    skipLoudly("a full file system", `no tmpfs can be mounted (${String(error).split("\n")[0]})`);
    return undefined;
  }
  onCleanup(() => {
    execFileSync("umount", ["-l", directory]);
  });
  return directory;
}

/** Bytes that differ at every position and from zero. */
export function pattern(length: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let index = 0; index < length; index += 1) bytes[index] = 1 + ((index * 7 + seed * 31) % 255);
  return bytes;
}

export async function readBack(device: BlockDevice, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length, 0xee);
  await device.read(offset, [bytes]);
  return bytes;
}

export interface Run {
  readonly offset: number;
  readonly length: number;
  readonly zero: boolean;
}

/** The status of the whole device, asked batch by batch, with equal neighbours merged across batches. */
export async function wholeStatus(
  device: BlockDevice,
  capacity = 1024,
  options: StatusOptions = {},
): Promise<readonly Run[]> {
  const { size } = device.info;
  const extents = new ExtentList(capacity);
  const runs: Run[] = [];
  for (let at = 0; at < size; at = extents.next) {
    await device.status(at, size - at, extents, options);
    if (extents.next <= at || extents.next > size)
      throw new Error(`batch from ${at} ends at ${extents.next}`);
    for (let index = 0; index < extents.count; index += 1) {
      const flags = extents.flagsAt(index);
      if (flags !== ExtentFlag.Data && flags !== ExtentFlag.Zero) throw new Error(`flags ${flags}`);
      const zero = flags === ExtentFlag.Zero;
      const last = runs.at(-1);
      const length = extents.lengthAt(index);
      if (last !== undefined && last.zero === zero) {
        runs[runs.length - 1] = { ...last, length: last.length + length };
      } else {
        runs.push({ offset: extents.offsetAt(index), length, zero });
      }
    }
  }
  return runs;
}
