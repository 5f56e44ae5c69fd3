import { CompressionType } from "../format/constants.ts";
import type { ClusterDecoder } from "./cluster-decoder.ts";
import { deflateDecoder } from "./inflate-cluster.ts";
import { loadNativeDecoders } from "./load-native-decoders.ts";
import type { NativeDecoder } from "./native-decoder.ts";
import { findZstd, zstdDecoder } from "./zstd-cluster.ts";

/** Why there is no decoder for zstd, and what to do. */
export const NO_ZSTD = "compressed with zstd, which this runtime cannot decode; use Node.js 22.15 or newer";

/** Whether this runtime can decode clusters of the type; zstd needs Node.js 22.15 or newer. */
export function canDecode(compressionType: number): boolean {
  return compressionType === CompressionType.Deflate || findZstd() !== undefined;
}

/** The decoder for a compression type; undefined when this runtime has none. */
export async function decoderFor(compressionType: number): Promise<ClusterDecoder | undefined> {
  const isDeflate = compressionType === CompressionType.Deflate;
  const decoder = isDeflate ? deflateDecoder : zstdDecoder();
  if (decoder === undefined) return undefined;
  const { inflate, zstd } = await loadNativeDecoders();
  const native = isDeflate ? inflate : zstd;
  return native === undefined ? decoder : withNativeHelp(native, decoder);
}

/** Leaves to `decoder` what is not as usual or could not be called, be it to say what is wrong with it. */
function withNativeHelp(native: NativeDecoder, decoder: ClusterDecoder): ClusterDecoder {
  return {
    one: async (input, cluster) => {
      const isDecoded = await native(input, cluster).catch(() => false);
      if (!isDecoded) await decoder.one(input, cluster);
    },
  };
}
