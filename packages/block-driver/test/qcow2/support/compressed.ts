import { appendFileSync, statSync, truncateSync } from "node:fs";
import { createImage } from "./create.ts";
import { withImage } from "./open.ts";
import { peek64, poke64 } from "./poke.ts";

/** Size of the clusters of {@link imageOfStreams}. */
export const CLUSTER = 65_536;

/** What differs from cluster to cluster, half of it noise: a stream is longer than the sector that it begins in. */
export function clusterContent(index: number): Buffer {
  const cluster = Buffer.alloc(CLUSTER, `cluster ${index} says so; `);
  for (let at = 0, state = index + 1; at < CLUSTER / 2; at += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    cluster.writeUInt32LE(state, at);
  }
  return cluster;
}

/** Makes an image of compressed clusters with these streams, back to back, as a writer packs them. */
export async function imageOfStreams(
  file: string,
  compressionType: "zlib" | "zstd",
  streams: readonly Buffer[],
): Promise<string> {
  await createImage(file, streams.length * CLUSTER, { compressionType });
  // Gives the image its L2 table.
  await withImage(file, ({ edge }) => Promise.resolve(edge.write(0, [clusterContent(0)])));
  const l2 = Number(peek64(file, Number(peek64(file, 40))) & 0x00ff_ffff_ffff_fe00n);
  let offset = statSync(file).size;
  streams.forEach((stream, index) => {
    const sectors = Math.floor(((offset % 512) + stream.length - 1) / 512);
    poke64(file, l2 + 8 * index, (1n << 62n) | (BigInt(sectors) << 54n) | BigInt(offset));
    appendFileSync(file, stream);
    offset += stream.length;
  });
  truncateSync(file, Math.ceil(offset / CLUSTER) * CLUSTER);
  return file;
}
