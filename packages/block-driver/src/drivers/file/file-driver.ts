import fs from "node:fs";
import path from "node:path";
import { DRIVER_CONTRACT_VERSION, type BlockDriver, type OpenContext } from "../../contract/driver.ts";
import type { BlockDevice } from "../../contract/device.ts";
import { option, optionSchema, type OptionSchema } from "../../contract/options.ts";
import { BlockError } from "../../errors.ts";
import { createFile } from "./create-file.ts";
import type { FileHolder } from "./describe-device.ts";
import { FileDevice } from "./file-device.ts";
import type { FileOps } from "./file-ops.ts";
import { loadFileOps } from "./load-file-ops.ts";
import { lockClaim, lockImage } from "./image-lock.ts";
import { isLocalFile } from "./inline-writes.ts";
import { closeDescriptor, openFile, type OpenFile } from "./open-file.ts";
import { NODE_CALLS, type FileCalls } from "./positional-io.ts";
import { blockCountProvesHoles } from "./space-trust.ts";

/** Options of the `file` driver. */
export interface FileOptions {
  /** Path of a regular file or block device; relative to the working directory. */
  readonly filename: string;
  /** Refuse to change the size. Block devices are fixed anyway. Default false: a regular file grows and shrinks. */
  readonly fixed: boolean;
  /**
   * QEMU-compatible image locking: `auto` locks where the host can, `on` fails where it cannot, `off` neither locks nor
   * looks. Default `auto`. A reader that puts up with a running writer uses `off`.
   */
  readonly locking: "auto" | "on" | "off";
  /**
   * `filename` has no symbolic links in it, as somebody who decided about it found; refuse the file if one was put in its
   * way since. Default false: links are followed.
   */
  readonly real: boolean;
  /**
   * Who makes small writes: `auto` makes those of whole pages at once while the host takes them into memory, `threads` leaves
   * every write to the thread pool, so that a file system that hangs never stops the program. Default `auto`.
   */
  readonly aio: "auto" | "threads";
}

/** Options for creating a file. */
export interface FileCreateOptions {
  /** Path of the new file. */
  readonly filename: string;
  /** Size in bytes. */
  readonly size: number;
  /** Space: `off` makes one hole, `falloc` reserves (or writes zeroes where it cannot), `full` writes zeroes. Default `off`. */
  readonly preallocation: "off" | "falloc" | "full";
  /** Replace a file of that name. Default false. */
  readonly overwrite: boolean;
}

/** How {@link createFileDriver} differs from the driver that everybody uses. */
export interface FileDriverInit {
  /** False does without native help, as `BLOCKMIRROR_NO_NATIVE=1` does for the whole process. Default true. */
  readonly native?: boolean;
  /** System calls to use instead of Node's. */
  readonly calls?: Partial<FileCalls>;
}

const options: OptionSchema<FileOptions> = optionSchema({
  filename: option.string("Path of a regular file or block device."),
  fixed: option.boolean("Refuse to change the size.", false),
  locking: option.choice(
    "Image locking as QEMU does it: where possible, mandatory, or not at all.",
    ["auto", "on", "off"],
    "auto",
  ),
  real: option.boolean("The path has no symbolic links; refuse the file if one was put in its way.", false),
  aio: option.choice(
    "Small writes: at once while the host takes them into memory, or always on the thread pool.",
    ["auto", "threads"],
    "auto",
  ),
});

const createOptions: OptionSchema<FileCreateOptions> = optionSchema({
  filename: option.string("Path of the new file."),
  size: option.bytes("Size in bytes."),
  preallocation: option.choice(
    "Space for the file: none, reserved, or written with zeroes.",
    ["off", "falloc", "full"],
    "off",
  ),
  overwrite: option.boolean("Replace a file of that name.", false),
});

/**
 * Makes a `file` driver. Programs want {@link fileDriver}; this is for those that need the baseline without native help,
 * or that fail system calls on purpose to see what happens.
 */
export function createFileDriver(init: FileDriverInit = {}): BlockDriver<FileOptions, FileCreateOptions> {
  // Node's own are recognised, since only they may be gone past.
  const calls: FileCalls = init.calls === undefined ? NODE_CALLS : { ...NODE_CALLS, ...init.calls };
  const load = async (): Promise<FileOps | undefined> => (init.native === false ? undefined : loadFileOps());
  return {
    name: "file",
    kind: "protocol",
    contractVersion: DRIVER_CONTRACT_VERSION,
    options,
    createOptions,
    async open(given, context) {
      return openDevice(given, context, { calls, ops: await load() });
    },
    async create({ filename, ...rest }, { signal }) {
      await createFile(calls, await load(), { ...rest, filename: path.resolve(filename), signal });
    },
  };
}

/**
 * The `file` driver: a regular file or a block device, byte for byte.
 *
 * Reads and writes of any alignment; short transfers and interruptions are continued. A read beyond the end of a file
 * that another program shortened fails with `EIO`. After a failed flush every request fails with `BLK_FENCED`, because
 * what the kernel still held may be lost. With the optional `koffi` package on Linux it also finds holes, zeroes and
 * discards ranges, copies inside the kernel, and locks images against QEMU; without, it is as correct, only coarser.
 */
export const fileDriver: BlockDriver<FileOptions, FileCreateOptions> = createFileDriver();

/** How the driver reaches the host. */
interface Host {
  readonly calls: FileCalls;
  readonly ops: FileOps | undefined;
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
    const mayInline = given.aio === "auto" && !readOnly && calls === NODE_CALLS && file.kind === "regular";
    const inline = mayInline && (await isLocalFile(file.fd));
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
      inline,
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
