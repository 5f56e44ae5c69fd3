import { CompressionType } from "../format/constants.ts";
import type { ClusterDecoder } from "./cluster-decoder.ts";
import { deflateDecoder } from "./inflate-cluster.ts";
import { zstdDecoder } from "./zstd-cluster.ts";

/** Why there is no decoder for zstd, and what to do. */
export const NO_ZSTD = "compressed with zstd, which this runtime cannot decode; use Node.js 22.15 or newer";

/** The decoder for a compression type; undefined when this runtime has none (zstd needs Node.js 22.15 or newer). */
export function decoderFor(compressionType: number, clusterSize: number): ClusterDecoder | undefined {
  return compressionType === CompressionType.Deflate ? deflateDecoder(clusterSize) : zstdDecoder(clusterSize);
}
