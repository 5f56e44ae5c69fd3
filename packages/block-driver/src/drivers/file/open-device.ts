import fs from "node:fs";
import path from "node:path";
import type { BlockDevice } from "../../contract/device.ts";
import type { OpenContext } from "../../contract/driver.ts";
import { BlockError } from "../../errors.ts";
import type { FileHolder } from "./describe-device.ts";
import { FileDevice } from "./file-device.ts";
import type { FileOptions } from "./file-options.ts";
import type { FileOps } from "./file-ops.ts";
import { fileSystemOf } from "./file-system.ts";
import { hostFor, type FileDriverInit, type Host } from "./host.ts";
import { lockClaim, lockImage } from "./image-lock.ts";
import { closeDescriptor, openFile, type OpenFile } from "./open-file.ts";
import { NODE_CALLS } from "./positional-io.ts";
import { blockCountProvesHoles } from "./space-trust.ts";

/** What the driver's `open` does. */
export async function openFileDevice(
  init: FileDriverInit,
  given: FileOptions,
  context: OpenContext,
): Promise<BlockDevice> {
  return openDevice(given, context, await hostFor(init));
}

/** `holder` is the opening of the same file whose place this one takes; it stays usable when this one fails. */
async function openDevice(
  given: FileOptions,
  context: Pick<OpenContext, "nodeName" | "readOnly" | "signal">,
  host: Host,
  holder?: FileHolder,
): Promise<BlockDevice> {
  const { calls, ops } = host;
  const filename = path.resolve(given.filename);
  const { readOnly } = context;
  assertNotAborted(context, filename);
  const file = await openFile(filename, readOnly, ops);
  let handedOver = false;
  try {
    if (given.real) await mustLieAt(filename, file.fd);
    if (holder !== undefined) {
      if (holder.identity !== file.identity) throw movedAway(filename);
      holder.unlock();
      handedOver = true;
    }
    const locked = lock(file, filename, given, readOnly, ops);
    const canPunch = !readOnly && (await canPunchHoles(file, ops));
    const trustsBlockCount =
      ops === undefined && file.kind === "regular" && (await blockCountProvesHoles(filename));
    const mayInline = given.aio === "auto" && calls === NODE_CALLS && file.kind === "regular";
    const fileSystem = mayInline ? await fileSystemOf(file.fd) : undefined;
    assertNotAborted(context, filename);
    return new FileDevice({
      file,
      filename,
      readOnly,
      fixed: given.fixed,
      calls,
      ops,
      canPunch,
      trustsBlockCount,
      locked,
      writesInline: !readOnly && fileSystem?.isLocal === true,
      isInMemory: fileSystem?.isMemory === true,
      openAgain: (mode, old) => openDevice(given, { nodeName: context.nodeName, readOnly: mode }, host, old),
    });
  } catch (error) {
    await closeDescriptor(file.fd).catch(() => {});
    if (handedOver) holder?.relock();
    throw error;
  }
}

/** The kernel knows where the open file lies; without its word the path is looked at once more. */
async function mustLieAt(filename: string, fd: number): Promise<void> {
  const actual =
    process.platform === "linux"
      ? await fs.promises.readlink(`/proc/self/fd/${fd}`)
      : await fs.promises.realpath(filename);
  if (actual === filename) return;
  throw new BlockError(
    "BLK_DENIED",
    `${filename} leads elsewhere than when it was allowed to be opened: somebody puts links in its way`,
    { node: filename, operation: "open" },
  );
}

function movedAway(filename: string): BlockError {
  return new BlockError(
    "EBUSY",
    `${filename} is not the file any more that was opened by this name: it was replaced or moved; open it anew`,
    { node: filename, operation: "reopen" },
  );
}

function lock(
  file: OpenFile,
  filename: string,
  { locking, fixed }: FileOptions,
  readOnly: boolean,
  ops: FileOps | undefined,
): boolean {
  if (locking === "off") return false;
  const resizes = file.kind === "regular" && !fixed;
  const claim = lockClaim(readOnly, resizes);
  if (ops !== undefined && lockImage(ops, file.fd, claim, filename)) return true;
  if (locking === "auto") return false;
  const why =
    ops === undefined ? "the optional package 'koffi' is not available" : "its file system has no locks";
  throw new BlockError("ENOTSUP", `${filename} cannot be locked: ${why}; use locking 'auto' or 'off'`, {
    node: filename,
    operation: "open",
  });
}

/**
 * Whether holes can be punched, tried on the file itself just behind its end, where there is nothing to lose: it changes
 * no byte and no space, at most the modification time. A block device says so itself.
 */
async function canPunchHoles(file: OpenFile, ops: FileOps | undefined): Promise<boolean> {
  if (ops === undefined) return false;
  if (file.kind === "block") return file.zeroesFast;
  try {
    await ops.punchHole(file.fd, file.size, 1);
    return true;
  } catch {
    // Unsupported; or a file as large as its file system allows, with nothing behind its end: not known, not promised.
    return false;
  }
}

function assertNotAborted(
  { signal, nodeName }: Pick<OpenContext, "signal" | "nodeName">,
  filename: string,
): void {
  if (signal?.aborted !== true) return;
  throw new BlockError("ECANCELED", `opening ${filename} was cancelled`, {
    node: nodeName,
    operation: "open",
  });
}
