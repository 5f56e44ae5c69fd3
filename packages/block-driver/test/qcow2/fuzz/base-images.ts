import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Random } from "../../../src/conformance/random.ts";
import { keepDirtyBitmap } from "../../../src/index.ts";
import { qemuImg, qemuIo } from "../support/qemu-img.ts";
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

/**
 * Images that only qemu can make: with internal snapshots, with compressed clusters. Snapshots record when they were taken,
 * so that these bytes differ from run to run.
 */
export async function makePeerImages(directory: string): Promise<readonly BaseImage[]> {
  const raw = join(directory, "source.raw");
  writeFileSync(raw, new Random(1).bytes(DISK).fill(7, 64 * KIB, 300 * KIB));
  const images: BaseImage[] = [];
  for (const options of ["cluster_size=4k", "cluster_size=512", "cluster_size=16k,extended_l2=on"]) {
    const file = join(directory, "made.qcow2");
    const convert = ["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", options, raw, file];
    await qemuImg(convert);
    images.push({ name: `compressed, ${options}`, bytes: readFileSync(file) });
    await qemuImg(["snapshot", "-c", "one", file]);
    await qemuIo(file, ["write -P 3 100k 64k", "write -P 4 400k 30k"]);
    await qemuImg(["snapshot", "-c", "two", file]);
    images.push({ name: `snapshots, ${options}`, bytes: readFileSync(file) });
  }
  return images;
}
