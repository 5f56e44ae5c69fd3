import { readFileSync, statSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { BlockError, FaultController } from "../../../src/index.ts";
import { failure } from "../../support/graphs.ts";
import { createImage, createOver } from "../support/create.ts";
import { scratchFiles } from "../support/scratch.ts";

const MIB = 1024 * 1024;

describe("options that exclude each other are refused, and the file is left alone", () => {
  const path = scratchFiles();
  const data = { dataFileName: "d" };
  const backing = { backingFile: "b.raw", backingFormat: "raw" };

  test.each([
    [{ size: 513 }, /multiple of 512/],
    [{ clusterSize: 65537 }, /cluster size/],
    [{ clusterSize: 256 }, /clusterSize/],
    [{ clusterSize: 4 * MIB }, /clusterSize/],
    [{ refcountBits: 3 }, /refcounts of 3 bits/],
    [{ refcountBits: 128 }, /refcountBits/],
    [{ extendedL2: true, clusterSize: 8192 }, /16 KiB/],
    [{ version: "v2", lazyRefcounts: true }, /lazy refcounts/],
    [{ version: "v2", refcountBits: 8 }, /other than 16/],
    [{ version: "v2", extendedL2: true }, /extended L2/],
    [{ version: "v2", compressionType: "zstd" }, /zstd/],
    [{ version: "v2", ...data, dataFile: { driver: "memory", size: 0 } }, /external data file/],
    [{ version: "v1" }, /version/],
    [{ compressionType: "lzo" }, /compressionType/],
    [{ preallocation: "some" }, /preallocation/],
    [{ backingFormat: "raw" }, /no backing file/],
    [{ backingFile: "b.raw" }, /format of the backing file/],
    [{ ...backing, preallocation: "metadata" }, /preallocation/],
    [{ ...backing, dataFileRaw: true, ...data, dataFile: { driver: "memory", size: 0 } }, /raw data file/],
    [{ dataFileRaw: true }, /no data file/],
    [data, /no data file/],
    [{ dataFile: { driver: "memory", size: 0 } }, /has no path/],
    [{ backingFile: "x".repeat(1024), backingFormat: "raw" }, /1024 bytes/],
    [{ backingFile: "a\0b", backingFormat: "raw" }, /NUL/],
    [{ backingFile: "b", backingFormat: "sixteen-letters!" }, /16 bytes/],
    [{ surprise: 1 }, /unknown option/],
  ])("%o", async (options, message) => {
    writeFileSync(path("a"), "precious");
    const error = await failure("EINVAL", () =>
      createOver({ driver: "file", filename: path("a") }, MIB, options),
    );
    expect(error.message).toMatch(message);
    expect(readFileSync(path("a"), "utf8")).toBe("precious");
  });

  test.each([
    [129 * 1024 ** 3, { clusterSize: 512 }, "EFBIG"],
    [Math.floor(Number.MAX_SAFE_INTEGER / 512) * 512, {}, "EFBIG"],
    [64 * 1024 ** 3, { clusterSize: 512, refcountBits: 64, preallocation: "metadata" }, "EFBIG"],
    [MIB, { clusterSize: 512, backingFile: "x".repeat(600), backingFormat: "raw" }, "ENOSPC"],
  ] as const)("beyond a limit: %i bytes, %o", async (size, options, code) => {
    writeFileSync(path("a"), "precious");
    await failure(code, () => createOver({ driver: "file", filename: path("a") }, size, options));
    expect(readFileSync(path("a"), "utf8")).toBe("precious");
  });

  test("the image and its data file must differ", async () => {
    writeFileSync(path("a"), "precious");
    const file = { driver: "file", filename: path("a"), locking: "off" };
    await expect(createOver(file, MIB, { dataFile: file })).rejects.toBeInstanceOf(BlockError);
    expect(readFileSync(path("a"), "utf8")).toBe("precious");
  });
});

describe("what is there already", () => {
  const path = scratchFiles();

  test("in a file is lost", async () => {
    writeFileSync(path("a"), Buffer.alloc(2 * MIB, 0xaa));
    await createOver({ driver: "file", filename: path("a") }, MIB);
    writeFileSync(path("b"), "");
    await createOver({ driver: "file", filename: path("b") }, MIB);
    expect(readFileSync(path("a")).equals(readFileSync(path("b")))).toBe(true);
  });

  test.each([{}, { preallocation: "metadata" }, { preallocation: "falloc" }, { preallocation: "full" }])(
    "on a device of fixed size does not show through, %o",
    async (options) => {
      writeFileSync(path("a"), Buffer.alloc(4 * MIB, 0xaa));
      await createOver({ driver: "file", filename: path("a"), fixed: true }, MIB, options);
      await createImage(path("b"), MIB, options);
      const [a, b] = [readFileSync(path("a")), readFileSync(path("b"))];
      expect(a.length).toBe(4 * MIB);
      expect(a.subarray(0, b.length).equals(b)).toBe(true);
    },
  );

  test("a device that is too small is refused by it", async () => {
    writeFileSync(path("a"), Buffer.alloc(100_000));
    await expect(
      createOver({ driver: "file", filename: path("a"), fixed: true }, MIB),
    ).rejects.toBeInstanceOf(BlockError);
  });
});

describe("space and crashes", () => {
  const path = scratchFiles();

  test("a sparse disk costs what its tables cost", async () => {
    await createImage(path("a"), 1024 ** 5);
    // 1 PiB needs an L1 table of 16 MiB, which is a hole, and a refcount table of 4 MiB, which is one too.
    expect(statSync(path("a")).blocks * 512).toBeLessThan(MIB);
  });

  test.each([{}, { preallocation: "metadata" }, { clusterSize: 512, refcountBits: 64 }])(
    "a failure at any request leaves no image behind, %o",
    async (options) => {
      const build = async (controller: FaultController): Promise<void> => {
        writeFileSync(path("a"), Buffer.alloc(MIB, 0xaa));
        const file = { driver: "file", filename: path("a") };
        await createOver({ driver: "fault", controller, file }, MIB, options);
      };
      const all = new FaultController();
      await build(all);
      const changes = all.log.filter(({ operation }) => operation !== "read" && operation !== "status");
      expect(changes.length).toBeGreaterThan(4);
      expect(changes.slice(-3)).toMatchObject([
        { operation: "flush" },
        { operation: "write", offset: 0 },
        { operation: "flush" },
      ]);
      // The last one is the flush behind the header, which may well be there then.
      for (let nth = 1; nth < changes.length; nth += 1) {
        const operation = ["write", "writeZeroes", "discard", "flush", "resize"] as const;
        const controller = new FaultController({ rules: [{ operation, nth, times: 0, error: "EIO" }] });
        await failure("EIO", () => build(controller));
        expect(readFileSync(path("a")).subarray(0, 4).toString("latin1")).not.toBe("QFI\u00fb");
      }
    },
  );

  test("cancelling leaves no image behind", async () => {
    const abort = new AbortController();
    abort.abort();
    writeFileSync(path("a"), "precious");
    const file = { driver: "file", filename: path("a") };
    await failure("ECANCELED", () => createOver(file, MIB, {}, abort.signal));
    expect(readFileSync(path("a"), "utf8")).toBe("precious");
  });
});
