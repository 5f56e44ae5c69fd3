import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { lacksPeers, requirePeer, run } from "@blockmirror/peers";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ExtentFlag, ExtentList, isZero } from "../../src/index.ts";
import {
  BACKENDS,
  lacksNative,
  openDevice,
  openNative,
  openWritable,
  pattern,
  readBack,
  SEED,
  temporaryDirectory,
  temporaryFile,
  wholeStatus,
  type Run,
} from "./support.ts";

const KiB = 1024;
const MiB = 1024 * KiB;

/** What an independent program says about the same file. */
async function peerMap(filename: string): Promise<readonly Run[]> {
  const { stdout } = await run(requirePeer("qemu-img"), [
    "map",
    "-f",
    "raw",
    "-U",
    "--output=json",
    filename,
  ]);
  const runs: unknown = JSON.parse(stdout);
  if (!Array.isArray(runs)) throw new Error(stdout);
  return runs.map((entry: { start: number; length: number; zero: boolean }) => ({
    offset: entry.start,
    length: entry.length,
    zero: entry.zero,
  }));
}

describe.each(BACKENDS)("status ($backend)", ({ native }) => {
  test("never calls data zero, and covers the device batch by batch, whatever was done to the file", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            block: fc.integer({ min: 0, max: 63 }),
            blocks: fc.integer({ min: 1, max: 20 }),
            shift: fc.constantFrom(0, 0, 1, 511, 4095),
            action: fc.constantFrom("write", "discard", "zero", "status"),
          }),
          { maxLength: 15 },
        ),
        fc.integer({ min: 1, max: 5 }),
        async (steps, capacity) => {
          const size = 64 * 64 * KiB + 100;
          const device = await openWritable(temporaryFile(size), { native });
          for (const { block, blocks, shift, action } of steps) {
            const offset = block * 64 * KiB + shift;
            const length = Math.min(blocks * 16 * KiB + shift, size - offset);
            if (action === "write") await device.write(offset, [pattern(length)]);
            if (action === "discard") await device.discard?.(offset, length);
            if (action === "zero") await device.writeZeroes?.(offset, length, { unmap: true });
            if (action === "status") await wholeStatus(device, capacity);
          }
          const content = await readBack(device, 0, size);
          let end = 0;
          for (const { offset, length, zero } of await wholeStatus(device, capacity)) {
            expect(offset).toBe(end);
            end = offset + length;
            if (zero) expect(isZero(content.subarray(offset, end))).toBe(true);
          }
          expect(end).toBe(size);
          await device.close();
        },
      ),
      { seed: SEED, numRuns: 40 },
    );
  });

  test("a file that was never written is one hole, until the first byte is written", async () => {
    // tmpfs and ext4 count blocks exactly, so this holds without native help too.
    const device = await openWritable(temporaryFile(8 * MiB), { native });
    expect(["exact", "coarse"]).toContain(device.info.can.status);
    expect(await wholeStatus(device)).toEqual([{ offset: 0, length: 8 * MiB, zero: true }]);
    await device.write(5 * MiB, [pattern(1)]);
    const runs = await wholeStatus(device);
    const written = runs.find(({ offset, length }) => offset <= 5 * MiB && 5 * MiB < offset + length);
    expect(written?.zero).toBe(false);
  });

  test("an answer starts in the middle where it was asked, and never passes the end", async () => {
    const device = await openWritable(temporaryFile(MiB + 7), { native });
    await device.write(0, [pattern(MiB + 7)]);
    const extents = new ExtentList();
    await device.status(4097, 10, extents);
    expect(extents.offsetAt(0)).toBe(4097);
    expect(extents.next).toBeGreaterThanOrEqual(4107);
    expect(extents.next).toBeLessThanOrEqual(MiB + 7);
    await device.status(MiB + 6, 1, extents);
    expect([extents.count, extents.next, extents.flagsAt(0)]).toEqual([1, MiB + 7, ExtentFlag.Data]);
    await device.status(100, 0, extents);
    expect([extents.count, extents.next]).toEqual([0, 100]);
  });
});

describe.skipIf(lacksNative)("holes (native)", () => {
  test("are found exactly, at the granularity of the file system", async () => {
    const device = await openNative(temporaryFile(10 * MiB));
    await device.write(MiB, [pattern(64 * KiB)]);
    await device.write(5 * MiB, [pattern(MiB)]);
    const zero = true;
    expect(await wholeStatus(device)).toEqual([
      { offset: 0, length: MiB, zero },
      { offset: MiB, length: 64 * KiB, zero: false },
      { offset: MiB + 64 * KiB, length: 4 * MiB - 64 * KiB, zero },
      { offset: 5 * MiB, length: MiB, zero: false },
      { offset: 6 * MiB, length: 4 * MiB, zero },
    ]);
    expect(device.info.can.status).toBe("exact");
  });

  test("without precision only holes that fill a block of 64 KiB are told of", async () => {
    const device = await openNative(temporaryFile(MiB + 4 * KiB));
    for (let offset = 0; offset < 256 * KiB; offset += 8 * KiB)
      await device.write(offset, [pattern(4 * KiB)]);
    await device.write(380 * KiB, [pattern(4 * KiB)]);
    await device.write(MiB, [pattern(4 * KiB)]);
    expect(await wholeStatus(device)).toHaveLength(67);
    const zero = true;
    expect(await wholeStatus(device, undefined, { precise: false })).toEqual([
      { offset: 0, length: 256 * KiB, zero: false },
      { offset: 256 * KiB, length: 64 * KiB, zero },
      { offset: 320 * KiB, length: 64 * KiB, zero: false },
      { offset: 384 * KiB, length: 640 * KiB, zero },
      { offset: MiB, length: 4 * KiB, zero: false },
    ]);
    const extents = new ExtentList();
    await device.status(380 * KiB - 1, 2, extents, { precise: false });
    expect([extents.count, extents.flagsAt(0)]).toEqual([1, ExtentFlag.Data]);
  });

  test("own changes of space are seen at once, though runs of data are remembered", async () => {
    const device = await openNative(temporaryFile(pattern(8 * MiB)));
    const data = { offset: 0, length: 8 * MiB, zero: false };
    expect(await wholeStatus(device)).toEqual([data]);
    await device.discard(2 * MiB, MiB);
    expect(await wholeStatus(device)).toHaveLength(3);
    await device.write(2 * MiB, [pattern(MiB)]);
    expect(await wholeStatus(device)).toEqual([data]);
    await device.writeZeroes(4 * MiB, MiB, { unmap: true });
    expect(await wholeStatus(device)).toHaveLength(3);
    await device.resize(4 * MiB);
    await device.resize(8 * MiB);
    expect(await wholeStatus(device)).toEqual([
      { offset: 0, length: 4 * MiB, zero: false },
      { offset: 4 * MiB, length: 4 * MiB, zero: true },
    ]);
  });

  test("a badly fragmented file is answered in bounded batches that go on to the end", async () => {
    const filename = temporaryFile(3000 * 8 * KiB);
    const fd = fs.openSync(filename, "r+");
    for (let index = 0; index < 3000; index += 1)
      fs.writeSync(fd, pattern(4 * KiB), 0, 4 * KiB, index * 8 * KiB);
    fs.closeSync(fd);
    const device = await openDevice(filename, { readOnly: true });
    const extents = new ExtentList(100_000);
    await device.status(0, device.info.size, extents);
    // One call must not hold the event loop for thousands of system calls, though the list has room.
    expect(extents.count).toBeLessThan(3000);
    expect(await wholeStatus(device, 100_000)).toHaveLength(6000);
  });

  test("space that was reserved but not written reads as zeroes and is no data", async () => {
    const filename = temporaryFile(4 * MiB);
    execFileSync("fallocate", ["--length", "4MiB", filename]);
    const device = await openDevice(filename, { readOnly: true });
    expect(await wholeStatus(device)).toEqual([{ offset: 0, length: 4 * MiB, zero: true }]);
    expect(device.info.allocatedSize).toBeGreaterThanOrEqual(4 * MiB);
  });

  test("what another program cut off is an error and not a hole", async () => {
    const filename = temporaryFile(4 * MiB);
    const device = await openDevice(filename, { readOnly: true });
    fs.truncateSync(filename, MiB);
    const extents = new ExtentList();
    await device.status(0, 4 * MiB, extents);
    expect(extents.next).toBe(MiB);
    expect(() => device.status(MiB, MiB, extents)).toThrow(
      expect.objectContaining({ code: "EIO", operation: "status", offset: MiB }),
    );
  });

  test("what another program appended is not part of the device", async () => {
    const filename = temporaryFile(MiB);
    const device = await openDevice(filename, { readOnly: true });
    fs.appendFileSync(filename, pattern(MiB));
    expect(await wholeStatus(device)).toEqual([{ offset: 0, length: MiB, zero: true }]);
  });

  test.skipIf(lacksPeers("qemu-img"))("agree with the map that qemu-img draws", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 1, max: 16 }), fc.boolean()), {
          maxLength: 20,
        }),
        async (changes) => {
          const size = 256 * 64 * KiB;
          const filename = temporaryFile(size);
          const device = await openNative(filename);
          for (const [block, blocks, data] of changes) {
            const offset = block * 64 * KiB;
            const length = Math.min(blocks * 64 * KiB, size - offset);
            if (data) await device.write(offset, [pattern(length)]);
            else await device.discard(offset, length);
          }
          await device.flush();
          expect(await wholeStatus(device)).toEqual(await peerMap(filename));
          await device.close();
        },
      ),
      { seed: SEED, numRuns: 15 },
    );
  });
});

describe("status without native help", () => {
  test("calls a file with any space data throughout", async () => {
    const device = await openWritable(temporaryFile(4 * MiB), { native: false });
    await device.write(0, [pattern(1)]);
    expect(await wholeStatus(device)).toEqual([{ offset: 0, length: 4 * MiB, zero: false }]);
  });

  test("does not take a small file for a hole", async () => {
    // A file system may keep few bytes in the inode, without any block.
    const device = await openDevice(temporaryFile(Buffer.from("x"), temporaryDirectory()), { native: false });
    expect(await wholeStatus(device)).toEqual([{ offset: 0, length: 1, zero: false }]);
  });
});
