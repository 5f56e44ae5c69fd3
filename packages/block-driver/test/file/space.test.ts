import fs from "node:fs";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BlockGraph, createFileDriver, DriverRegistry } from "../../src/index.ts";
import {
  BACKENDS,
  lacksNative,
  mountTmpfs,
  openNative,
  openWritable,
  pattern,
  readBack,
  SEED,
  temporaryFile,
} from "./support.ts";

const MiB = 1024 * 1024;

function space(filename: string): number {
  return fs.statSync(filename).blocks * 512;
}

describe.skipIf(lacksNative)("zeroing and discarding in place", () => {
  test("ranges of any alignment read as zeroes, and nothing else changes", async () => {
    const size = 100_000;
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            offset: fc.integer({ min: 0, max: size }),
            length: fc.integer({ min: 0, max: 30_000 }),
            how: fc.constantFrom("unmap", "keep", "discard"),
          }),
          { maxLength: 10 },
        ),
        async (steps) => {
          const model = pattern(size);
          const device = await openNative(temporaryFile(model));
          for (const { offset, length: wanted, how } of steps) {
            const length = Math.min(wanted, size - offset);
            if (how === "discard") await device.discard(offset, length);
            else await device.writeZeroes(offset, length, { unmap: how === "unmap" });
            model.fill(0, offset, offset + length);
          }
          expect((await readBack(device, 0, size)).equals(model)).toBe(true);
          expect(fs.statSync(device.info.label).size).toBe(size);
          await device.close();
        },
      ),
      { seed: SEED, numRuns: 40 },
    );
  });

  test("with unmap the space is given back, without it is kept", async () => {
    const filename = temporaryFile(pattern(4 * MiB));
    const device = await openNative(filename);
    expect(device.info.can).toMatchObject({ writeZeroes: "fast", unmap: true, discard: "zeroes" });
    await device.writeZeroes(0, MiB, { unmap: false });
    expect(space(filename)).toBeGreaterThanOrEqual(4 * MiB);
    await device.writeZeroes(MiB, MiB, { unmap: true });
    await device.discard(2 * MiB, MiB);
    expect(space(filename)).toBeLessThanOrEqual(2 * MiB + 64 * 1024);
    expect((await readBack(device, 0, 3 * MiB)).every((byte) => byte === 0)).toBe(true);
    expect((await readBack(device, 3 * MiB, MiB)).equals(pattern(4 * MiB).subarray(3 * MiB))).toBe(true);
  });

  test("many in flight at a time all take effect", async () => {
    const device = await openNative(temporaryFile(pattern(4 * MiB)));
    const ranges = Array.from({ length: 256 }, (_, index) => index * 16 * 1024);
    await Promise.all(ranges.map((offset) => device.writeZeroes(offset, 8 * 1024, { unmap: true })));
    const bytes = await readBack(device, 0, 4 * MiB);
    for (const offset of ranges) {
      expect(bytes.subarray(offset, offset + 8192).every((byte) => byte === 0)).toBe(true);
      expect(bytes.subarray(offset + 8192, offset + 16_384).every((byte) => byte !== 0)).toBe(true);
    }
  });

  test("a file system that cannot zero in place without unmapping says ENOTSUP; a node then writes zeroes", async (context) => {
    const directory = mountTmpfs(8 * MiB);
    if (directory === undefined) return context.skip();
    const filename = temporaryFile(pattern(MiB), directory);
    const device = await openNative(filename);
    for (let round = 0; round < 2; round += 1) {
      const zeroed = device.writeZeroes(0, 1000, { noFallback: true });
      await expect(zeroed).rejects.toMatchObject({ code: "ENOTSUP", operation: "writeZeroes" });
    }
    await device.writeZeroes(0, 4096, { unmap: true, noFallback: true });
    await device.close();
    const graph = new BlockGraph({ registry: new DriverRegistry().register(createFileDriver()) });
    const node = await graph.open({ driver: "file", filename });
    await node.writeZeroes(100_000, 50_000);
    await graph.close(node);
    const content = fs.readFileSync(filename);
    expect(content.subarray(100_000, 150_000).every((byte) => byte === 0)).toBe(true);
    expect(content[99_999]).not.toBe(0);
    expect(content[150_000]).not.toBe(0);
  });

  test("an aborted signal refuses both before they start", async () => {
    const device = await openNative(temporaryFile(pattern(1000)));
    const signal = AbortSignal.abort();
    const refused = expect.objectContaining({ code: "ECANCELED" });
    expect(() => device.writeZeroes(0, 10, { signal })).toThrow(refused);
    expect(() => device.discard(0, 10, { signal })).toThrow(refused);
    expect((await readBack(device, 0, 1000)).equals(pattern(1000))).toBe(true);
  });

  test("are made durable by the next flush", async () => {
    let syncs = 0;
    const device = await openNative(temporaryFile(pattern(1000)), {
      calls: {
        fdatasync(fd, done) {
          syncs += 1;
          fs.fdatasync(fd, done);
        },
      },
    });
    await device.flush();
    await device.discard(0, 10);
    await device.flush();
    await device.writeZeroes(0, 10);
    await device.flush();
    expect(syncs).toBe(3);
  });
});

describe.each(BACKENDS)("zeroes through a node ($backend)", ({ native }) => {
  test.each([true, false])("any range can be zeroed (unmap: %s)", async (unmap) => {
    const registry = new DriverRegistry().register(createFileDriver({ native }));
    const graph = new BlockGraph({ registry });
    const filename = temporaryFile(pattern(MiB));
    const node = await graph.open({ driver: "file", filename });
    await node.writeZeroes(1001, 500_000, { unmap, fua: true });
    await node.discard(600_000, 1000);
    await graph.closeAll();
    const model = pattern(MiB);
    model.fill(0, 1001, 501_001);
    if (native) model.fill(0, 600_000, 601_000);
    expect(fs.readFileSync(filename).equals(model)).toBe(true);
  });
});

describe("the baseline", () => {
  test("has neither, so that the block layer writes zeroes", async () => {
    const device = await openWritable(temporaryFile(1000), { native: false });
    expect("writeZeroes" in device || "discard" in device || "copyRange" in device).toBe(false);
    expect(device.info.can).toMatchObject({
      writeZeroes: "no",
      unmap: false,
      discard: "no",
      copyRange: false,
    });
  });
});
