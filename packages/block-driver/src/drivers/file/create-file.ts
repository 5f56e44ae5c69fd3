import fs from "node:fs";
import path from "node:path";
import { BlockError, toBlockError } from "../../errors.ts";
import { setSize, allocateSpace, writeZeroSpace } from "./allocate-space.ts";
import type { FileOps } from "./file-ops.ts";
import { hostFor, type FileDriverInit } from "./host.ts";
import { lockImage, unlockImage, writerClaim } from "./image-lock.ts";
import { closeDescriptor, openDescriptor, openFile, statDescriptor } from "./open-file.ts";
import { settled } from "./positional-io.ts";
import { systemErrorCode } from "./system-error.ts";

/** What to create. */
export interface CreateFileInit {
  /** Absolute path. */
  readonly filename: string;
  /** Size in bytes. */
  readonly size: number;
  readonly preallocation: "off" | "falloc" | "full";
  /** Empty a file of that name instead of refusing. */
  readonly overwrite: boolean;
  readonly signal: AbortSignal | undefined;
}

/**
 * Makes a file of that size that reads as zeroes, and makes it durable with its name. What a failed creation made is
 * removed again; a file that was there before stays, but is then empty.
 */
export async function createFile(driver: FileDriverInit, init: CreateFileInit): Promise<void> {
  const { filename, size, preallocation, signal } = init;
  const { calls, ops } = await hostFor(driver);
  const { fd, isNew } = await openTarget(init, ops);
  try {
    if (!isNew) await setSize(calls, fd, 0);
    await setSize(calls, fd, size);
    if (preallocation === "falloc") await allocateSpace(calls, ops, fd, 0, size, signal);
    if (preallocation === "full") await writeZeroSpace(calls, fd, 0, size, signal);
    await settled((done) => calls.fdatasync(fd, done));
    if (isNew) await syncDirectory(path.dirname(filename));
  } catch (error) {
    if (isNew) await removeOwn(filename, fd);
    throw toBlockError(error, { node: filename, operation: "create" });
  } finally {
    if (ops !== undefined) unlockImage(ops, fd);
    await closeDescriptor(fd).catch(() => {});
  }
}

async function openTarget(
  init: CreateFileInit,
  ops: FileOps | undefined,
): Promise<{ readonly fd: number; readonly isNew: boolean }> {
  const { filename, overwrite } = init;
  const { O_CREAT, O_EXCL, O_RDWR } = fs.constants;
  try {
    return { fd: await openDescriptor(filename, O_RDWR | O_CREAT | O_EXCL), isNew: true };
  } catch (error) {
    if (systemErrorCode(error) !== "EEXIST") throw createError(error, filename);
    if (!overwrite) {
      throw new BlockError("EEXIST", `${filename} exists already; choose another name or allow overwriting`, {
        node: filename,
        operation: "create",
        cause: error,
      });
    }
  }
  const existing = await openFile(filename, false, ops);
  try {
    if (existing.kind !== "regular") {
      throw new BlockError("EINVAL", `${filename} is a block device; it exists and needs no creation`, {
        node: filename,
        operation: "create",
      });
    }
    if (ops !== undefined) lockImage(ops, existing.fd, writerClaim(true), filename);
    return { fd: existing.fd, isNew: false };
  } catch (error) {
    await closeDescriptor(existing.fd).catch(() => {});
    throw error;
  }
}

function createError(error: unknown, filename: string): BlockError {
  const context = { node: filename, operation: "create", cause: error };
  const folder = path.dirname(filename);
  switch (systemErrorCode(error)) {
    case "ENOENT":
    case "ENOTDIR":
      return new BlockError("ENOENT", `${filename} cannot be created: there is no folder ${folder}`, context);
    case "EACCES":
    case "EPERM":
      return new BlockError(
        "EACCES",
        `${filename} cannot be created: files may not be made in ${folder}`,
        context,
      );
    default:
      return toBlockError(error, context);
  }
}

/** A new name is durable only when its folder is. File systems that cannot sync a folder need not. */
async function syncDirectory(folder: string): Promise<void> {
  const fd = await openDescriptor(folder, fs.constants.O_RDONLY).catch(() => undefined);
  if (fd === undefined) return;
  try {
    await settled((done) => fs.fsync(fd, done));
  } catch (error) {
    if (systemErrorCode(error) === "EIO") throw error;
  } finally {
    await closeDescriptor(fd).catch(() => {});
  }
}

/** Removes the file only while the name still means the file that was made here. */
async function removeOwn(filename: string, fd: number): Promise<void> {
  try {
    const own = await statDescriptor(fd);
    const named = await fs.promises.lstat(filename, { bigint: true });
    if (named.dev === own.dev && named.ino === own.ino) await fs.promises.unlink(filename);
  } catch {
    // The name is gone already, or never will be: the failure that led here is the one to report.
  }
}
