import fs from "node:fs";
import { MAX_DEVICE_SIZE } from "../../contract/device.ts";
import { BlockError, toBlockError } from "../../errors.ts";
import type { FileOps } from "./file-ops.ts";
import { inspectBlockSpecial } from "./block-special.ts";
import { systemErrorCode } from "./system-error.ts";

/** An open file or block device, and what has to be known about it before it can be a device. */
export interface OpenFile {
  readonly fd: number;
  readonly kind: "regular" | "block";
  /** Size in bytes. */
  readonly size: number;
  /** Bytes of space it has, where that is known. */
  readonly allocatedSize: number | undefined;
  /** The same for every name of the same storage. */
  readonly identity: string;
  /** Unit of zeroing and discarding in bytes. */
  readonly blockSize: number;
  /** For a block device: ranges can be zeroed by the hardware. */
  readonly zeroesFast: boolean;
}

/**
 * Opens a path for reading, or for reading and writing.
 * @throws BlockError `ENOENT`, `EACCES`, `EROFS`, `EISDIR`, `EINVAL` (not a file or block device), `EFBIG`.
 */
export async function openFile(
  filename: string,
  readOnly: boolean,
  ops: FileOps | undefined,
): Promise<OpenFile> {
  let fd: number;
  try {
    // Looked at before it is opened, because opening a FIFO waits for its other end and a tape rewinds.
    assertImageType(await fs.promises.stat(filename), filename);
    fd = await openDescriptor(filename, readOnly ? fs.constants.O_RDONLY : fs.constants.O_RDWR);
  } catch (error) {
    throw openError(error, filename, readOnly);
  }
  try {
    return await inspect(fd, filename, ops);
  } catch (error) {
    await closeDescriptor(fd).catch(() => {});
    throw openError(error, filename, readOnly);
  }
}

async function inspect(fd: number, filename: string, ops: FileOps | undefined): Promise<OpenFile> {
  const stats = await statDescriptor(fd);
  assertImageType(stats, filename);
  if (stats.isBlockDevice()) {
    const special = await inspectBlockSpecial(fd, stats.rdev, ops);
    return {
      fd,
      kind: "block",
      size: special.size,
      allocatedSize: undefined,
      identity: `block:${stats.rdev}`,
      blockSize: special.logicalBlockSize,
      zeroesFast: special.zeroesFast,
    };
  }
  if (stats.size > BigInt(MAX_DEVICE_SIZE)) {
    throw new BlockError("EFBIG", `${filename} has ${stats.size} bytes; at most 2^53-1 are supported`, {
      node: filename,
      operation: "open",
    });
  }
  return {
    fd,
    kind: "regular",
    size: Number(stats.size),
    allocatedSize: Number(stats.blocks * 512n),
    identity: `file:${stats.dev}:${stats.ino}`,
    blockSize: 1,
    zeroesFast: false,
  };
}

interface FileType {
  isFile(): boolean;
  isBlockDevice(): boolean;
  isDirectory(): boolean;
  isCharacterDevice(): boolean;
  isFIFO(): boolean;
}

function assertImageType(stats: FileType, filename: string): void {
  if (stats.isFile() || stats.isBlockDevice()) return;
  const context = { node: filename, operation: "open" };
  if (stats.isDirectory()) {
    throw new BlockError("EISDIR", `${filename} is a directory; name the image file inside it`, context);
  }
  const what = stats.isCharacterDevice() ? "a character device" : stats.isFIFO() ? "a FIFO" : "a socket";
  throw new BlockError(
    "EINVAL",
    `${filename} is ${what}; an image is a regular file or a block device`,
    context,
  );
}

/** Adds what to do about it. */
function openError(error: unknown, filename: string, readOnly: boolean): BlockError {
  const context = { node: filename, operation: "open", cause: error };
  switch (systemErrorCode(error)) {
    case "ENOENT":
    case "ENOTDIR":
      return error instanceof BlockError
        ? error
        : new BlockError("ENOENT", `${filename} does not exist; check the name or create it first`, context);
    case "EACCES":
    case "EPERM":
      return new BlockError(
        "EACCES",
        `${filename} may not be opened ${readOnly ? "for reading" : "for writing; change its permissions or open it read-only"}`,
        context,
      );
    case "EROFS":
      return new BlockError("EROFS", `${filename} is on a read-only file system; open it read-only`, context);
    default:
      return toBlockError(error, context);
  }
}

/** Opens a raw descriptor; a `FileHandle` would be closed by the garbage collector's choice. */
export function openDescriptor(filename: string, flags: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.open(filename, flags, 0o666, (error, fd) => {
      if (error === null) resolve(fd);
      else reject(error);
    });
  });
}

export function closeDescriptor(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.close(fd, (error) => {
      if (error === null || error === undefined) resolve();
      else reject(error);
    });
  });
}

export function statDescriptor(fd: number): Promise<fs.BigIntStats> {
  return new Promise((resolve, reject) => {
    fs.fstat(fd, { bigint: true }, (error, stats) => {
      if (error === null) resolve(stats);
      else reject(error);
    });
  });
}
