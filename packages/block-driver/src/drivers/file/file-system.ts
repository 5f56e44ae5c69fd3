import fs from "node:fs";

/** File systems by the numbers in Linux's `magic.h`. */
const TMPFS = 0x01021994;
/** Of local storage: ext2 to ext4, XFS, F2FS, tmpfs. */
const LOCAL: ReadonlySet<number> = new Set([0xef53, 0x58465342, 0xf2f52010, TMPFS]);

/** What is known of the file system that an open file is on. */
export interface FileSystem {
  /** On storage of this machine. */
  readonly isLocal: boolean;
  /** In its memory: nothing is waited for, but for what was swapped out. */
  readonly isMemory: boolean;
}

const UNKNOWN: FileSystem = { isLocal: false, isMemory: false };

/** Looks where an open file is; knows nothing where that cannot be told. */
export async function fileSystemOf(fd: number): Promise<FileSystem> {
  if (process.platform !== "linux") return UNKNOWN;
  try {
    const { type } = await fs.promises.statfs(`/proc/self/fd/${fd}`);
    return { isLocal: LOCAL.has(type), isMemory: type === TMPFS };
  } catch {
    return UNKNOWN;
  }
}
