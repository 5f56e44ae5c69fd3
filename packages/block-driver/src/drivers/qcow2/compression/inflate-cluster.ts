import type * as Zlib from "node:zlib";
import type { ClusterDecoder } from "./cluster-decoder.ts";
import { isTooMuch, startOfStream } from "./start-of-stream.ts";

/** Room behind the output: a decoder that fills its chunk exactly asks for another. */
const SPARE = 128;

/** Decodes deflate streams, each by itself, on the runtime's thread pool. */
export const deflateDecoder: ClusterDecoder = {
  async one(input, cluster) {
    cluster.set(await inflateCluster(input, cluster.length));
  },
};

/** Loaded for the first compressed cluster: most images have none. */
function zlib(): typeof Zlib {
  return process.getBuiltinModule("node:zlib");
}

async function inflateCluster(input: Uint8Array, clusterSize: number): Promise<Uint8Array> {
  try {
    return await inflateWhole(input, clusterSize);
  } catch (error) {
    if (!isTooMuch(error)) throw error;
    return startOfStream(zlib().createInflateRaw({ chunkSize: clusterSize }), input, clusterSize);
  }
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
