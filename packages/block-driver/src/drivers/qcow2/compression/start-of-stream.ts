import type { Transform } from "node:stream";

/** A decoder was told how much to make at most, and would have made more. */
export function isTooMuch(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ERR_BUFFER_TOO_LARGE";
}

/** The first `clusterSize` bytes of a stream that yields more: what follows is not asked for. */
export function startOfStream(
  stream: Transform,
  input: Uint8Array,
  clusterSize: number,
): Promise<Uint8Array> {
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
