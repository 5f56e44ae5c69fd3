import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import fs from "node:fs";
import { deviceNumbers } from "../../src/drivers/file/block-special.ts";
import {
  BACKENDS,
  onCleanup,
  openDevice,
  pattern,
  readBack,
  skipLoudly,
  temporaryFile,
  wholeStatus,
} from "./support.ts";

const MiB = 1024 * 1024;

/** A block device over a file, or undefined after saying why not. */
function attachLoop(filename: string): string | undefined {
  try {
    const device = execFileSync("losetup", ["--find", "--show", filename], { stdio: "pipe" })
      .toString()
      .trim();
    onCleanup(() => void execFileSync("losetup", ["--detach", device]));
    return device;
  } catch (error) {
    skipLoudly("block devices", `no loop device can be attached (${String(error).split("\n")[0]})`);
    return undefined;
  }
}

test("device numbers are split as the kernel joins them", () => {
  expect(deviceNumbers(0x0700n)).toBe("7:0");
  expect(deviceNumbers(0xfe00n)).toBe("254:0");
  // Large numbers: the minor's upper bits are above the major's lower ones, the major's upper bits above 32.
  expect(deviceNumbers(0x0000_1000_1234_5678n)).toBe("5206:74616");
});

describe.each(BACKENDS)("block devices ($backend)", ({ native }) => {
  test("have their real size, a fixed one, and an identity of their own", async (context) => {
    const device = attachLoop(temporaryFile(pattern(8 * MiB)));
    if (device === undefined) return context.skip();
    const opened = await openDevice(device, { native });
    const { rdev } = fs.statSync(device, { bigint: true });
    expect(opened.info).toMatchObject({
      size: 8 * MiB,
      identity: `block:${rdev}`,
      filename: device,
      can: { resize: "no", status: "none", copyRange: false, flush: true },
      details: { kind: "block" },
    });
    expect("resize" in opened).toBe(false);
    expect(await wholeStatus(opened)).toEqual([{ offset: 0, length: 8 * MiB, zero: false }]);
  });

  test("are read and written at any alignment, to the last byte", async (context) => {
    const filename = temporaryFile(pattern(MiB));
    const loop = attachLoop(filename);
    if (loop === undefined) return context.skip();
    const device = await openDevice(loop, { native });
    const model = pattern(MiB);
    expect((await readBack(device, 0, MiB)).equals(model)).toBe(true);
    for (const [offset, length] of [
      [1, 3],
      [511, 5000],
      [MiB - 7, 7],
    ] as const) {
      await device.write?.(offset, [pattern(length, 9)]);
      pattern(length, 9).copy(model, offset);
    }
    await device.flush?.();
    expect((await readBack(device, 0, MiB)).equals(model)).toBe(true);
    await device.close();
    expect(fs.readFileSync(filename).equals(model)).toBe(true);
  });

  test("a read-only opening offers no change", async (context) => {
    const loop = attachLoop(temporaryFile(pattern(MiB)));
    if (loop === undefined) return context.skip();
    const device = await openDevice(loop, { native, readOnly: true });
    expect("write" in device || "writeZeroes" in device || "discard" in device).toBe(false);
    expect(device.info.size).toBe(MiB);
  });

  test("zero and discard whole blocks where the host helps", async (context) => {
    const filename = temporaryFile(pattern(4 * MiB));
    const loop = attachLoop(filename);
    if (loop === undefined) return context.skip();
    const device = await openDevice(loop, { native });
    if (!native) {
      expect(device.info.can).toMatchObject({ writeZeroes: "no", discard: "no" });
      return;
    }
    const { align, can } = device.info;
    expect(can).toMatchObject({ writeZeroes: "fast", unmap: true, discard: "zeroes" });
    expect(align.zero).toBe(512);
    await device.writeZeroes?.(align.zero, MiB, { unmap: false });
    await device.writeZeroes?.(2 * MiB, 64 * 1024, { unmap: true });
    await device.discard?.(3 * MiB, 64 * 1024);
    const model = pattern(4 * MiB);
    model.fill(0, align.zero, align.zero + MiB);
    model.fill(0, 2 * MiB, 2 * MiB + 64 * 1024);
    model.fill(0, 3 * MiB, 3 * MiB + 64 * 1024);
    expect((await readBack(device, 0, 4 * MiB)).equals(model)).toBe(true);
    await device.flush?.();
    await device.close();
    expect(fs.readFileSync(filename).equals(model)).toBe(true);
    expect(fs.statSync(filename).blocks * 512).toBeLessThan(4 * MiB);
  });
});
