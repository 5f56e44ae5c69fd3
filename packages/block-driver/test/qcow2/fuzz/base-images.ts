import { Random } from "../../../src/conformance/random.ts";
import { keepDirtyBitmap } from "../../../src/index.ts";
import { StoredImage } from "./stored-image.ts";

const KIB = 1024;

/** Create options of the images that are mutated; each small, so that a poke hits something. */
const LAYOUTS: readonly Readonly<Record<string, unknown>>[] = [
  {},
  { clusterSize: 512 },
  { clusterSize: 4 * KIB, refcountBits: 1 },
  { clusterSize: 4 * KIB, refcountBits: 64 },
  { clusterSize: 16 * KIB, extendedL2: true },
  { version: "v2", clusterSize: 4 * KIB },
  { clusterSize: 1 * KIB, preallocation: "metadata" },
  { clusterSize: 4 * KIB, lazyRefcounts: true },
  { clusterSize: 4 * KIB, bitmaps: true },
  { clusterSize: 4 * KIB, compressionType: "zstd" },
  { clusterSize: 4 * KIB, backingFile: "/etc/passwd", backingFormat: "raw" },
];

/** Bytes of the disk of every base image. */
const DISK = 512 * KIB;

/** A valid image, as bytes. */
export interface BaseImage {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Makes the images that are mutated. The content depends on the seed alone. */
export async function makeBaseImages(seed: number): Promise<readonly BaseImage[]> {
  const images: BaseImage[] = [];
  for (const layout of LAYOUTS) images.push(await makeImage(layout, new Random(seed)));
  return images;
}

async function makeImage(layout: Readonly<Record<string, unknown>>, random: Random): Promise<BaseImage> {
  const { bitmaps, ...options } = layout;
  const image = await StoredImage.of(new Uint8Array(0));
  try {
    await image.graph.create("qcow2", { ...options, file: "file", size: DISK });
    await image.open({ backing: null }, async (edge, node) => {
      if (bitmaps === true) {
        keepDirtyBitmap(node, node.createDirtyBitmap({ name: "one", granularity: 512 }));
        keepDirtyBitmap(node, node.createDirtyBitmap({ name: "two", granularity: 64 * KIB, enabled: false }));
      }
      for (let round = 0; round < 12; round += 1) {
        const offset = random.below(DISK);
        const length = Math.min(DISK - offset, 1 + random.below(24 * KIB));
        if (round % 4 === 3) await edge.writeZeroes(offset, length, { unmap: round % 8 === 3 });
        else await edge.write(offset, [random.bytes(length)]);
      }
    });
    return { name: JSON.stringify(layout), bytes: await image.bytes() };
  } finally {
    await image.close();
  }
}
