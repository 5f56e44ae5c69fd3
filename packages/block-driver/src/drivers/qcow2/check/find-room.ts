import { BlockError } from "../../../errors.ts";
import { fileClusters, type CheckedImage } from "./checked-image.ts";
import type { ReferenceMap } from "./reference-map.ts";
import type { RefcountStructure } from "./refcount-structure.ts";

/**
 * First of `length` clusters in a row that nothing uses, the refcount structure included: behind everything, or in between
 * where a file cannot grow.
 * @param map every reference but perhaps those of the refcount structure.
 * @throws BlockError `ENOSPC` when a device of fixed size has no room.
 */
export function findRoom(
  image: CheckedImage,
  old: RefcountStructure,
  map: ReferenceMap,
  length: number,
): number {
  const clusters = fileClusters(image);
  if (image.file.info.can.resize !== "no") return Math.max(clusters, map.end);
  const { clusterSize } = image.geometry;
  const whole = Math.floor(image.file.info.size / clusterSize);
  const kept = new Set<number>();
  const { refcountTableOffset, refcountTableClusters } = image.header;
  for (let index = 0; index < refcountTableClusters; index += 1) {
    kept.add(Math.floor(refcountTableOffset / clusterSize) + index);
  }
  for (let index = 0; index < old.entries; index += 1)
    kept.add(Math.floor(old.offsetOf(index) / clusterSize));
  let run = 0;
  for (let cluster = 1; cluster < whole; cluster += 1) {
    run = map.get(cluster) === 0 && !kept.has(cluster) ? run + 1 : 0;
    if (run === length) return cluster - length + 1;
  }
  throw new BlockError(
    "ENOSPC",
    `${image.label}: no room for ${length} clusters of new metadata; copy the image to a larger device`,
    { node: image.label, operation: "check" },
  );
}
