import { isNativeForbidden, openCLibrary, type CLibrary } from "../../../native/c-library.ts";
import type { Candidate, NativeDecoder } from "./native-decoder.ts";
import { openNativeInflate } from "./native-inflate.ts";
import { openNativeZstd } from "./native-zstd.ts";

/** Those decoders of the runtime that can be called without its streams; a decoder that is not there is undefined. */
export interface NativeDecoders {
  readonly inflate?: NativeDecoder | undefined;
  readonly zstd?: NativeDecoder | undefined;
}

let loading: Promise<NativeDecoders> | undefined;

/**
 * Node brings zlib and zstd along and exports them for its addons. Called through its own API, each cluster costs a stream
 * object, and memory outside the heap that has the collector run: more than decoding it. They are loaded once per process.
 */
export async function loadNativeDecoders(): Promise<NativeDecoders> {
  if (isNativeForbidden()) return {};
  loading ??= openDecoders().catch(() => ({}));
  return loading;
}

async function openDecoders(): Promise<NativeDecoders> {
  const library = await openCLibrary();
  return { inflate: await proven(library, openNativeInflate), zstd: await proven(library, openNativeZstd) };
}

/** What a runtime exports under a name need not be what is expected: whoever fails the sample is not used. */
async function proven(
  library: CLibrary,
  open: (library: CLibrary) => Candidate | undefined,
): Promise<NativeDecoder | undefined> {
  try {
    const candidate = open(library);
    if (candidate === undefined) return undefined;
    const { decode, sample, decoded } = candidate;
    const cluster = new Uint8Array(decoded.length);
    const isRight = (await decode(sample, cluster)) && decoded.every((byte, at) => byte === cluster[at]);
    return isRight ? decode : undefined;
  } catch {
    return undefined;
  }
}
