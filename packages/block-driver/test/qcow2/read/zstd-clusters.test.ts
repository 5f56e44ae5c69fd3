import * as zlib from "node:zlib";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { failure } from "../../support/graphs.ts";
import { CLUSTER, clusterContent as content, imageOfStreams } from "../support/compressed.ts";
import { read, withImage } from "../support/open.ts";
import { scratchFiles } from "../support/scratch.ts";

const at = scratchFiles();
type Compress = (bytes: Buffer, options: Readonly<Record<string, unknown>>) => Buffer;

// Node.js before 22.15 has no zstd; without-zstd.test.ts tells what is said then.
const compress: unknown = Reflect.get(zlib, "zstdCompressSync");
const withZstd = test.runIf(isCompress(compress));

function isCompress(value: unknown): value is Compress {
  return typeof value === "function";
}

/** `ZSTD_c_contentSizeFlag`, a parameter of the format's reference encoder. */
const CONTENT_SIZE_FLAG = 200;

function frame(bytes: Buffer, contentSizeFlag = 1): Buffer {
  if (!isCompress(compress)) throw new TypeError("no zstd");
  return compress(bytes, { params: { [CONTENT_SIZE_FLAG]: contentSizeFlag }, pledgedSrcSize: bytes.length });
}

const imageOf = (streams: readonly Buffer[]): Promise<string> =>
  imageOfStreams(at("disk.qcow2"), "zstd", streams);

const disk = (count: number): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, index) => content(index)));

function isSame(bytes: Uint8Array, wanted: Uint8Array): boolean {
  return Buffer.compare(bytes, wanted) === 0;
}

describe.each([
  { way: "the decoder that the runtime exports", forbidden: "0" },
  { way: "the runtime's streams, in groups", forbidden: "1" },
])("with $way", ({ forbidden }) => {
  beforeEach(() => void vi.stubEnv("BLOCKMIRROR_NO_NATIVE", forbidden));
  afterEach(() => void vi.unstubAllEnvs());

  withZstd(
    "neighbouring zstd clusters are each what was stored, whatever form their frames have",
    async () => {
      const halves = Buffer.concat([
        frame(content(3).subarray(0, 32_768)),
        frame(content(3).subarray(32_768)),
      ]);
      const streams = Array.from({ length: 40 }, (_, index) => {
        if (index === 3) return halves;
        // A frame that does not say what it decodes to.
        return frame(content(index), index === 7 || index === 39 ? 0 : 1);
      });
      await withImage(
        await imageOf(streams),
        async ({ edge }) => {
          expect(isSame(await read(edge, 0, 40 * CLUSTER), disk(40))).toBe(true);
          expect(
            isSame(
              await read(edge, 5 * CLUSTER + 512, 9 * CLUSTER),
              disk(40).subarray(5 * CLUSTER + 512, 14 * CLUSTER + 512),
            ),
          ).toBe(true);
        },
        { readOnly: true },
      );
    },
  );

  withZstd("a damaged zstd cluster fails by itself, and its neighbours are read", async () => {
    const streams = Array.from({ length: 20 }, (_, index) => frame(content(index)));
    const damaged = Buffer.from(streams[9] ?? []);
    damaged.fill(0xff, damaged.length - 8);
    streams[9] = damaged;
    await withImage(
      await imageOf(streams),
      async ({ edge }) => {
        const error = await failure("EIO", () => read(edge, 0, 20 * CLUSTER));
        expect(error.message).toContain(`guest offset ${9 * CLUSTER} `);
        expect(isSame(await read(edge, 0, 9 * CLUSTER), disk(9))).toBe(true);
        expect(isSame(await read(edge, 10 * CLUSTER, 10 * CLUSTER), disk(20).subarray(10 * CLUSTER))).toBe(
          true,
        );
      },
      { readOnly: true },
    );
  });

  withZstd("frames that are too short and too long by the same do not make up for each other", async () => {
    const streams = Array.from({ length: 8 }, (_, index) => frame(content(index)));
    streams[2] = frame(content(2).subarray(0, CLUSTER - 512));
    streams[3] = frame(Buffer.concat([content(2).subarray(0, 512), content(3)]));
    await withImage(
      await imageOf(streams),
      async ({ edge }) => {
        const error = await failure("EIO", () => read(edge, 0, 8 * CLUSTER));
        expect(error.message).toContain(`guest offset ${2 * CLUSTER} `);
        expect(isSame(await read(edge, 4 * CLUSTER, 4 * CLUSTER), disk(8).subarray(4 * CLUSTER))).toBe(true);
      },
      { readOnly: true },
    );
  });
});
