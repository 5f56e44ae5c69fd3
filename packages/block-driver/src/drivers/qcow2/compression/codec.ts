import type { Transform } from "node:stream";
import type * as Zlib from "node:zlib";
import { CompressionType } from "../format/constants.ts";
import { zstdFrameAt } from "./zstd-frame.ts";

/**
 * Decodes one compressed cluster. `input` may go on behind the stream: the next cluster begins there. Resolves with
 * exactly `clusterSize` bytes.
 * @throws Error when the input does not decode to a whole cluster.
 */
export type DecodeCluster = (input: Uint8Array, clusterSize: number) => Promise<Uint8Array>;

/** Greatest window of a zstd frame: 8 MiB, what RFC 8878 recommends every decoder to support. */
const ZSTD_WINDOW_LOG = 23;
/** `ZSTD_d_windowLogMax`, a constant of the zstd format's reference decoder. */
const ZSTD_D_WINDOW_LOG_MAX = 100;
/** Room behind the output: a decoder that fills its chunk exactly is called again, and takes what follows for a frame. */
const SPARE = 128;

type ZstdDecompress = (
  input: Uint8Array,
  options: Readonly<Record<string, unknown>>,
  callback: (error: Error | null, output: Uint8Array) => void,
) => void;

/** Why there is no decoder for zstd, and what to do. */
export const NO_ZSTD = "compressed with zstd, which this runtime cannot decode; use Node.js 22.15 or newer";

/** The decoder for a compression type; undefined when this runtime has none (zstd needs Node.js 22.15 or newer). */
export function decoderFor(compressionType: number): DecodeCluster | undefined {
  if (compressionType === CompressionType.Deflate) return inflateCluster;
  const zstd = findZstd();
  return zstd === undefined ? undefined : (input, size) => zstdCluster(zstd, input, size);
}

/** Loaded for the first compressed cluster: most images have none. */
function zlib(): typeof Zlib {
  return process.getBuiltinModule("node:zlib");
}

/** What of zstd a runtime may have. */
interface Zstd {
  readonly decompress: ZstdDecompress;
  readonly createDecompress: (options: Readonly<Record<string, unknown>>) => Transform;
}

function findZstd(): Zstd | undefined {
  const decompress: unknown = Reflect.get(zlib(), "zstdDecompress");
  const createDecompress: unknown = Reflect.get(zlib(), "createZstdDecompress");
  return isDecompress(decompress) && isCreateDecompress(createDecompress)
    ? { decompress, createDecompress }
    : undefined;
}

function isDecompress(value: unknown): value is Zstd["decompress"] {
  return typeof value === "function";
}

function isCreateDecompress(value: unknown): value is Zstd["createDecompress"] {
  return typeof value === "function";
}

async function inflateCluster(input: Uint8Array, clusterSize: number): Promise<Uint8Array> {
  try {
    return await inflateWhole(input, clusterSize);
  } catch (error) {
    if (!isTooMuch(error)) throw error;
    return startOf(zlib().createInflateRaw({ chunkSize: clusterSize }), input, clusterSize);
  }
}

function isTooMuch(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ERR_BUFFER_TOO_LARGE";
}

function inflateWhole(input: Uint8Array, clusterSize: number): Promise<Uint8Array> {
  // A stream that ends with the cluster need not say that it ends.
  const finishFlush = zlib().constants.Z_SYNC_FLUSH;
  const options = { finishFlush, chunkSize: clusterSize + SPARE, maxOutputLength: clusterSize };
  return new Promise((resolve, reject) => {
    zlib().inflateRaw(input, options, (error, output) => {
      if (error !== null) reject(error);
      else if (output.length === clusterSize) resolve(output);
      else reject(new Error(`it decodes to ${output.length} bytes, a cluster has ${clusterSize}`));
    });
  });
}

/** Decodes frames until they make up a cluster. Usually there is one; what follows belongs to the next cluster. */
async function zstdCluster(zstd: Zstd, input: Uint8Array, clusterSize: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let filled = 0;
  for (let at = 0; filled < clusterSize;) {
    const frame = zstdFrameAt(input, at);
    if (frame === undefined) {
      throw new Error(
        `it decodes to ${filled} bytes, a cluster has ${clusterSize}, and no zstd frame follows`,
      );
    }
    if (!frame.skippable) {
      const part = await zstdFrame(zstd, input.subarray(at, at + frame.length), clusterSize);
      parts.push(part);
      filled += part.length;
    }
    at += frame.length;
  }
  const [only] = parts;
  return parts.length === 1 && only !== undefined
    ? only.subarray(0, clusterSize)
    : Buffer.concat(parts, filled).subarray(0, clusterSize);
}

async function zstdFrame(zstd: Zstd, frame: Uint8Array, clusterSize: number): Promise<Uint8Array> {
  const params = { [ZSTD_D_WINDOW_LOG_MAX]: ZSTD_WINDOW_LOG };
  try {
    return await zstdWhole(zstd, frame, {
      chunkSize: clusterSize + SPARE,
      maxOutputLength: clusterSize + SPARE,
      params,
    });
  } catch (error) {
    if (!isTooMuch(error)) throw error;
    return startOf(zstd.createDecompress({ chunkSize: clusterSize, params }), frame, clusterSize);
  }
}

function zstdWhole(
  { decompress }: Zstd,
  frame: Uint8Array,
  options: Readonly<Record<string, unknown>>,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    decompress(frame, options, (error, output) => {
      if (error === null) resolve(output);
      else reject(error);
    });
  });
}

/** The first `clusterSize` bytes of a stream that yields more: what follows is not asked for. */
function startOf(stream: Transform, input: Uint8Array, clusterSize: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const cluster = Buffer.allocUnsafeSlow(clusterSize);
    let filled = 0;
    stream.on("data", (chunk: Uint8Array) => {
      const part = chunk.subarray(0, clusterSize - filled);
      cluster.set(part, filled);
      filled += part.length;
      if (filled < clusterSize) return;
      resolve(cluster);
      stream.destroy();
    });
    stream.on("error", reject);
    stream.on("end", () => reject(new Error("it decodes to less than it did at first")));
    stream.end(input);
  });
}
