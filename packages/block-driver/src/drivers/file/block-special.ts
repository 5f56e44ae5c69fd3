import fs from "node:fs";
import type { FileOps } from "./file-ops.ts";

/** Facts of a block device that its inode does not tell. */
export interface BlockSpecial {
  /** Size in bytes. */
  readonly size: number;
  /** The smallest unit the hardware addresses, in bytes: zeroing and discarding go by it. */
  readonly logicalBlockSize: number;
  /** Ranges can be zeroed without sending zeroes, which is also what giving space back needs. */
  readonly zeroesFast: boolean;
}

/** The kernel counts sectors of this size in `sysfs`, whatever the device's own are. */
const SYSFS_SECTOR = 512;

/** Major and minor number, split as the C library splits a 64-bit device number. */
export function deviceNumbers(rdev: bigint): string {
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xffff_f000n);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffff_ff00n);
  return `${major}:${minor}`;
}

/**
 * Finds out about an open block device: its size by seeking to the end, or from `sysfs` where no native help is there.
 * @throws Error when neither works.
 */
export async function inspectBlockSpecial(
  fd: number,
  rdev: bigint,
  ops: FileOps | undefined,
): Promise<BlockSpecial> {
  const node = `/sys/dev/block/${deviceNumbers(rdev)}`;
  const sectors = await readNumber(`${node}/size`);
  const size = ops?.end(fd) ?? (sectors === undefined ? undefined : sectors * SYSFS_SECTOR);
  if (size === undefined) {
    throw new Error(`its size cannot be found: ${node}/size is not readable and 'koffi' is not installed`);
  }
  // A partition has no queue of its own; its disk is one folder up.
  const limit = async (name: string): Promise<number | undefined> =>
    (await readNumber(`${node}/queue/${name}`)) ?? (await readNumber(`${node}/../queue/${name}`));
  return {
    size,
    logicalBlockSize: (await limit("logical_block_size")) ?? SYSFS_SECTOR,
    zeroesFast: ((await limit("write_zeroes_max_bytes")) ?? 0) > 0,
  };
}

async function readNumber(path: string): Promise<number | undefined> {
  try {
    const value = Number((await fs.promises.readFile(path, "utf8")).trim());
    return Number.isSafeInteger(value) && value >= 0 ? value : undefined;
  } catch {
    return undefined;
  }
}
