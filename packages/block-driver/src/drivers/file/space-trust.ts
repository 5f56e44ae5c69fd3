import fs from "node:fs";

/**
 * File systems whose block count includes data that is still only in memory, and that count a block for data kept in
 * the inode: there, zero blocks means that the whole file is one hole. Others (network file systems, ZFS, FUSE) may
 * report zero blocks for data that was just written.
 */
const EXACT_BLOCK_COUNT: ReadonlyMap<number, string> = new Map([
  [0xef53, "ext4"],
  [0x58465342, "xfs"],
  [0x01021994, "tmpfs"],
]);

/** Whether a block count of zero proves that a file of this file system reads as zeroes throughout. */
export async function blockCountProvesHoles(filename: string): Promise<boolean> {
  try {
    const { type } = await fs.promises.statfs(filename);
    return EXACT_BLOCK_COUNT.has(type);
  } catch {
    return false;
  }
}

/** Whether the file has no space at all. */
export function hasNoBlocks(fd: number): boolean {
  return fs.fstatSync(fd).blocks === 0;
}
