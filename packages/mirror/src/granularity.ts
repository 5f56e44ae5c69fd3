import { BlockError, type DeviceInfo } from "@blockmirror/block-driver";

/** Smallest granularity in bytes (mirror rule S3.3). */
export const MIN_GRANULARITY = 512;
/** Largest granularity in bytes (mirror rule S3.3). */
export const MAX_GRANULARITY: number = 64 * 1024 * 1024;
/** Automatic granularity of a target without clusters, and the most that clusters can make it. */
export const DEFAULT_GRANULARITY: number = 64 * 1024;
const MIN_AUTOMATIC_GRANULARITY = 4096;

/**
 * The size of a chunk in bytes: what was asked for, or the target's cluster size, at least 4 KiB and at most 64 KiB
 * (mirror rules S3.2 and S3.3).
 * A target that names a backing image which is not open cannot fill the rest of a cluster: whatever is written to it has to
 * be whole clusters, so a chunk is never smaller than one (mirror rules S9.1 and S10.1), and has to be known (rule S9.2).
 * @param requested bytes; 0 = automatic.
 * @param wholeClusters the target can only be written in whole clusters.
 * @throws BlockError `EINVAL` for a granularity that is not a power of two from 512 B to 64 MiB, or a cluster size that has
 * to be known and is not.
 */
export function chooseGranularity(requested: number, target: DeviceInfo, wholeClusters = false): number {
  const cluster = target.align.allocation;
  if (wholeClusters && cluster === 0) {
    throw new BlockError(
      "EINVAL",
      `target '${target.label}' names a backing file that is not open, and its driver '${target.driver}' does not tell a cluster size; open the backing file`,
      { operation: "mirror" },
    );
  }
  const least = wholeClusters ? cluster : 0;
  return Math.max(least, chunkFor(requested, cluster));
}

function chunkFor(requested: number, cluster: number): number {
  if (requested === 0) {
    if (cluster === 0) return DEFAULT_GRANULARITY;
    return Math.min(Math.max(cluster, MIN_AUTOMATIC_GRANULARITY), DEFAULT_GRANULARITY);
  }
  if (!(requested >= MIN_GRANULARITY && requested <= MAX_GRANULARITY)) {
    throw new BlockError("EINVAL", `granularity must be from 512 B to 64 MiB, not ${requested} bytes`, {
      operation: "mirror",
    });
  }
  if (!Number.isInteger(Math.log2(requested))) {
    throw new BlockError("EINVAL", `granularity must be a power of two, not ${requested} bytes`, {
      operation: "mirror",
    });
  }
  return requested;
}
