import type { Transform } from "node:stream";
import type { ClusterDecoder, TakeCluster } from "./cluster-decoder.ts";
import { isTooMuch, startOfStream } from "./start-of-stream.ts";
import { zstdFrameAt } from "./zstd-frame.ts";

/** Greatest window of a zstd frame: 8 MiB, what RFC 8878 recommends every decoder to support. */
const ZSTD_WINDOW_LOG = 23;
/** `ZSTD_d_windowLogMax`, a constant of the zstd format's reference decoder. */
const ZSTD_D_WINDOW_LOG_MAX = 100;
/** Room behind the output: a decoder that fills its chunk exactly is called again, and takes what follows for a frame. */
const SPARE = 128;

const params = { [ZSTD_D_WINDOW_LOG_MAX]: ZSTD_WINDOW_LOG };

/** What of zstd a runtime may have. */
interface Zstd {
  readonly decompress: (
    input: Uint8Array,
    options: Readonly<Record<string, unknown>>,
    callback: (error: Error | null, output: Uint8Array) => void,
  ) => void;
  readonly createDecompress: (options: Readonly<Record<string, unknown>>) => Transform;
}

/** Decodes zstd frames on the runtime's thread pool; undefined where the runtime cannot. */
export function zstdDecoder(): ClusterDecoder | undefined {
  const zstd = findZstd();
  if (zstd === undefined) return undefined;
  return {
    one: async (input, cluster) => cluster.set(await zstdCluster(zstd, input, cluster.length)),
    many: (inputs, clusterSize, take) => zstdClusters(zstd, inputs, clusterSize, take),
  };
}

/** The runtime's zstd; undefined when it has none. */
export function findZstd(): Zstd | undefined {
  const zlib = process.getBuiltinModule("node:zlib");
  const decompress: unknown = Reflect.get(zlib, "zstdDecompress");
  const createDecompress: unknown = Reflect.get(zlib, "createZstdDecompress");
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

/**
 * Decodes frames that follow each other as one input. Only frames that say they hold a cluster are taken: the decoder holds
 * each to what it says, so that none can end where another should begin.
 */
async function zstdClusters(
  zstd: Zstd,
  inputs: readonly Uint8Array[],
  clusterSize: number,
  take: TakeCluster,
): Promise<void> {
  const frames: Uint8Array[] = [];
  const indices: number[] = [];
  inputs.forEach((input, index) => {
    const frame = zstdFrameAt(input, 0);
    if (frame?.contentSize !== clusterSize) return;
    frames.push(input.subarray(0, frame.length));
    indices.push(index);
  });
  if (frames.length < 2) return;
  const wanted = frames.length * clusterSize;
  const decoded = await zstdWhole(zstd, Buffer.concat(frames), wanted).catch(() => undefined);
  if (decoded?.length !== wanted) return;
  indices.forEach((index, order) =>
    take(decoded.subarray(order * clusterSize, (order + 1) * clusterSize), index),
  );
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
  try {
    return await zstdWhole(zstd, frame, clusterSize);
  } catch (error) {
    if (!isTooMuch(error)) throw error;
    return startOfStream(zstd.createDecompress({ chunkSize: clusterSize, params }), frame, clusterSize);
  }
}

/** All that `input` decodes to, which is hardly more than `size` bytes. */
function zstdWhole({ decompress }: Zstd, input: Uint8Array, size: number): Promise<Uint8Array> {
  const options = { chunkSize: size + SPARE, maxOutputLength: size + SPARE, params };
  return new Promise((resolve, reject) => {
    decompress(input, options, (error, output) => {
      if (error === null) resolve(output);
      else reject(error);
    });
  });
}
