import * as zlib from "node:zlib";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { lacksNative } from "../../file/support.ts";
import { failure } from "../../support/graphs.ts";
import { CLUSTER, clusterContent as content, imageOfStreams } from "../support/compressed.ts";
import { read, withImage } from "../support/open.ts";
import { scratchFiles } from "../support/scratch.ts";

const at = scratchFiles();

const imageOf = (streams: readonly Buffer[]): Promise<string> =>
  imageOfStreams(at("disk.qcow2"), "zlib", streams);

const disk = (first: number, count: number): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, index) => content(first + index)));

const isSame = (bytes: Uint8Array, wanted: Uint8Array): boolean => Buffer.compare(bytes, wanted) === 0;

describe.each([
  { way: "the decoder that the runtime exports", forbidden: "0" },
  { way: "the runtime's streams", forbidden: "1" },
])("with $way", ({ forbidden }) => {
  beforeEach(() => void vi.stubEnv("BLOCKMIRROR_NO_NATIVE", forbidden));
  afterEach(() => {
    vi.unstubAllEnvs();
    vi.restoreAllMocks();
  });

  test("deflate clusters are what was stored, whatever form their streams have", async () => {
    const streams = Array.from({ length: 40 }, (_, index) => {
      // What QEMU writes: a window of 4 KiB, which a stream does not tell.
      if (index % 2 === 0) return zlib.deflateRawSync(content(index), { windowBits: 12 });
      // Streams that do not end, that go on behind the cluster, and that hold it as it is.
      if (index === 5)
        return zlib.deflateRawSync(content(index), { finishFlush: zlib.constants.Z_SYNC_FLUSH });
      if (index === 7) return zlib.deflateRawSync(Buffer.concat([content(index), content(0)]));
      if (index === 9) return zlib.deflateRawSync(content(index), { level: 0 });
      return zlib.deflateRawSync(content(index));
    });
    await withImage(
      await imageOf(streams),
      async ({ edge }) => {
        expect(isSame(await read(edge, 0, 40 * CLUSTER), disk(0, 40))).toBe(true);
        const from = 4 * CLUSTER + 512;
        expect(
          isSame(await read(edge, from, 6 * CLUSTER), disk(0, 40).subarray(from, from + 6 * CLUSTER)),
        ).toBe(true);
        expect(isSame(await read(edge, 7 * CLUSTER + 1024, 512), content(7).subarray(1024, 1536))).toBe(true);
      },
      { readOnly: true },
    );
  });

  test.each([
    { what: "is damaged", stream: Buffer.from("never a deflate stream, by its first bits") },
    { what: "is too short", stream: zlib.deflateRawSync(content(9).subarray(512)) },
    { what: "breaks off", stream: zlib.deflateRawSync(content(9)).subarray(0, 20_000) },
    { what: "ends behind nothing", stream: zlib.deflateRawSync(Buffer.alloc(0)) },
  ])("a cluster whose stream $what fails by itself, and its neighbours are read", async ({ stream }) => {
    const streams = Array.from({ length: 20 }, (_, index) =>
      index === 9 ? Buffer.concat([stream, Buffer.alloc(40_000)]) : zlib.deflateRawSync(content(index)),
    );
    await withImage(
      await imageOf(streams),
      async ({ edge }) => {
        const error = await failure("EIO", () => read(edge, 0, 20 * CLUSTER));
        expect(error.message).toContain(`guest offset ${9 * CLUSTER} `);
        expect(isSame(await read(edge, 0, 9 * CLUSTER), disk(0, 9))).toBe(true);
        expect(isSame(await read(edge, 10 * CLUSTER, 10 * CLUSTER), disk(10, 10))).toBe(true);
        expect(isSame(await read(edge, 2 * CLUSTER, CLUSTER), content(2))).toBe(true);
      },
      { readOnly: true },
    );
  });

  test("more readers at once than decoders each get what they asked for", async () => {
    const streams = Array.from({ length: 48 }, (_, index) => zlib.deflateRawSync(content(index)));
    await withImage(
      await imageOf(streams),
      async ({ edge }) => {
        const reads = Array.from({ length: 48 }, async (_, index) =>
          isSame(await read(edge, index * CLUSTER, CLUSTER), content(index)),
        );
        expect(new Set(await Promise.all(reads))).toEqual(new Set([true]));
      },
      { readOnly: true },
    );
  });

  test.skipIf(lacksNative)("the runtime's streams are used only when they have to be", async () => {
    const file = await imageOf([zlib.deflateRawSync(content(0))]);
    const asked = vi.spyOn(process, "getBuiltinModule");
    await withImage(file, async ({ edge }) => void (await read(edge, 0, CLUSTER)), { readOnly: true });
    const usesStreams = asked.mock.calls.some(([id]) => id === "node:zlib");
    expect(usesStreams).toBe(forbidden === "1");
  });
});
