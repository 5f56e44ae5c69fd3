import "../../support/seed.ts";
import * as fc from "fast-check";
import { lacksPeers } from "@blockmirror/peers";
import { describe, expect, test } from "vitest";
import type { Qcow2MeasureOptions } from "../../../src/drivers/qcow2/measure.ts";
import { measureQcow2 } from "../../../src/drivers/qcow2/tools.ts";
import { failure } from "../../support/graphs.ts";
import { createImage } from "../support/create.ts";
import { qemuImg } from "../support/qemu-img.ts";
import { scratchFiles } from "../support/scratch.ts";
import { statSync } from "node:fs";

const MIB = 1024 * 1024;

const shapes: fc.Arbitrary<Qcow2MeasureOptions> = fc
  .record({
    sectors: fc.oneof(fc.nat(4096), fc.nat(2 ** 31)),
    clusterBits: fc.integer({ min: 9, max: 21 }),
    refcountOrder: fc.nat(6),
    extendedL2: fc.boolean(),
    preallocation: fc.constantFrom("off", "metadata", "falloc", "full"),
  })
  .filter(({ sectors, clusterBits, extendedL2 }) => {
    const coverage = 2 ** (2 * clusterBits - (extendedL2 ? 4 : 3));
    return (!extendedL2 || clusterBits >= 14) && Math.ceil((sectors * 512) / coverage) <= 2 ** 22;
  })
  .map(({ sectors, clusterBits, refcountOrder, extendedL2, preallocation }) => ({
    size: sectors * 512,
    clusterSize: 2 ** clusterBits,
    refcountBits: 2 ** refcountOrder,
    extendedL2,
    preallocation: preallocation,
  }));

describe.skipIf(lacksPeers("qemu-img"))("as qemu-img measures", () => {
  const path = scratchFiles();

  test("any empty disk", async () => {
    await fc.assert(
      fc.asyncProperty(shapes, async (shape) => {
        const options = `cluster_size=${shape.clusterSize},refcount_bits=${shape.refcountBits},extended_l2=${shape.extendedL2 === true ? "on" : "off"},preallocation=${shape.preallocation}`;
        // A table that would exceed its limit is refused here and measured there.
        const ours = await measureQcow2({ ...shape, preallocation: "off" }).then(() =>
          measureQcow2(shape).catch(() => undefined),
        );
        if (ours === undefined) return;
        const theirs: unknown = JSON.parse(
          await qemuImg([
            "measure",
            "--output=json",
            "-O",
            "qcow2",
            "-o",
            options,
            "--size",
            `${shape.size}`,
          ]),
        );
        expect({ required: ours.required, "fully-allocated": ours.fullyAllocated }).toEqual(theirs);
      }),
      { numRuns: 60 },
    );
  });

  test.each([512, 4096, 65536, 2 * MIB])("data in clusters of %i bytes", async (clusterSize) => {
    // Multiples of the file system's block, so that data is where it was written.
    const ranges = [
      { offset: 0, length: 4096 },
      { offset: 60 * 1024, length: 8192 },
      { offset: MIB, length: MIB },
      { offset: 8 * MIB - 4096, length: 4096 },
    ];
    await qemuImg(["create", "-q", "-f", "raw", path("a.raw"), "8M"]);
    const { open } = await import("node:fs/promises");
    const handle = await open(path("a.raw"), "r+");
    for (const { offset, length } of ranges)
      await handle.write(Buffer.alloc(length, 0x55), 0, length, offset);
    await handle.close();
    const options = ["-O", "qcow2", "-o", `cluster_size=${clusterSize}`, "-f", "raw", path("a.raw")];
    const theirs: unknown = JSON.parse(await qemuImg(["measure", "--output=json", ...options]));
    const ours = await measureQcow2({ size: 8 * MIB, clusterSize }, ranges);
    expect({ required: ours.required, "fully-allocated": ours.fullyAllocated }).toEqual(theirs);
  });

  test("a preallocated image is as large as was said", async () => {
    for (const shape of [{}, { clusterSize: 512 }, { extendedL2: true }, { refcountBits: 64 }]) {
      await createImage(path("a"), 9 * MIB, { ...shape, preallocation: "full" });
      const { fullyAllocated } = await measureQcow2({ size: 9 * MIB, ...shape });
      // Measured are whole clusters of L1 and whole L2 tables.
      expect(statSync(path("a")).size).toBeLessThanOrEqual(fullyAllocated);
      expect(statSync(path("a")).size).toBeGreaterThan(fullyAllocated - 5 * 65536);
    }
  });
});

describe("what cannot be made cannot be measured", () => {
  test.each([
    [{ size: 1000 }, "EINVAL"],
    [{ size: MIB, clusterSize: 3 }, "EINVAL"],
    [{ size: MIB, version: "v2", extendedL2: true }, "EINVAL"],
    [{ size: 2 ** 52 }, "EFBIG"],
  ] as const)("%o", async (options, code) => {
    await failure(code, () => measureQcow2(options));
  });

  test("ranges that share a cluster count it once", async () => {
    const empty = await measureQcow2({ size: MIB });
    const { required } = await measureQcow2({ size: MIB }, [
      { offset: 10, length: 10 },
      { offset: 30, length: 65536 },
      { offset: 70_000, length: 0 },
      { offset: 131_071, length: 1 },
    ]);
    expect(required - empty.required).toBe(2 * 65536);
  });
});
