import type { AsyncFunction, CLibrary } from "../../../native/c-library.ts";
import { ContextPool } from "./context-pool.ts";
import type { Candidate } from "./native-decoder.ts";
import { zstdFrameAt } from "./zstd-frame.ts";

/** "Blockmirror ", ten times, as a zstd frame that tells its size. */
const SAMPLE = "KLUv/SB4nQAAYEJsb2NrbWlycm9yIAEA6WlJAg==";

/** zstd's `ZSTD_decompressDCtx`, called on the thread pool; undefined where it is not exported. */
export function openNativeZstd({ functions }: CLibrary): Candidate | undefined {
  const create: () => unknown = functions.func("void *ZSTD_createDCtx()");
  // The result is a size, or an error as a negative number in it.
  const decompress: AsyncFunction = functions.func(
    "int64_t ZSTD_decompressDCtx(void *, void *, size_t, void *, size_t)",
  );
  const contexts = new ContextPool(() => {
    const context = create();
    if (context === null) throw new Error("zstd: out of memory");
    return context;
  });
  const run = (context: unknown, frame: Uint8Array, cluster: Uint8Array): Promise<boolean> =>
    new Promise((resolve, reject) => {
      decompress.async(context, cluster, cluster.length, frame, frame.length, (error, result) => {
        if (error !== null && error !== undefined)
          reject(new Error("zstd could not be called", { cause: error }));
        else resolve(result === cluster.length);
      });
    });
  return {
    async decode(input, cluster) {
      // Behind the frame the next cluster begins, which is not to be decoded with it. The usual one is all of a cluster.
      const frame = zstdFrameAt(input, 0);
      if (frame?.contentSize !== cluster.length) return false;
      return contexts.use((context) => run(context, input.subarray(0, frame.length), cluster));
    },
    sample: Buffer.from(SAMPLE, "base64"),
    decoded: Buffer.from("Blockmirror ".repeat(10)),
  };
}
