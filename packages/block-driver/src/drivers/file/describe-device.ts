import {
  BYTE_ALIGNMENT,
  DEFAULT_LIMITS,
  READ_ONLY_CAPABILITIES,
  type BlockDevice,
  type DeviceCapabilities,
  type DeviceInfo,
} from "../../contract/device.ts";
import type { FileOps } from "./file-ops.ts";
import type { OpenFile } from "./open-file.ts";
import { NODE_CALLS, type FileCalls } from "./positional-io.ts";

/** What the driver found out before it makes a device. */
export interface FileDeviceInit {
  readonly file: OpenFile;
  /** Absolute path. */
  readonly filename: string;
  readonly readOnly: boolean;
  /** The size is not to be changed. */
  readonly fixed: boolean;
  readonly calls: FileCalls;
  readonly ops: FileOps | undefined;
  /** Holes can be punched: tried on this file. */
  readonly canPunch: boolean;
  /** Without native help: a block count of zero proves that the file is one hole. */
  readonly trustsBlockCount: boolean;
  readonly locked: boolean;
  /** Small writes may be made at once. */
  readonly writesInline: boolean;
  /** The file is on a file system that keeps all in memory. */
  readonly isInMemory: boolean;
  /** Opens the same file once more, in place of `holder`. */
  readonly openAgain: (readOnly: boolean, holder: FileHolder) => Promise<BlockDevice>;
}

/** An open file whose place another opening of it takes. */
export interface FileHolder {
  readonly identity: string | undefined;
  /** Gives up its image lock, which would contradict the other one's. */
  readonly unlock: () => void;
  /** Takes its image lock back. */
  readonly relock: () => void;
}

/** What a device made from `init` can do. */
export function describeCapabilities(init: FileDeviceInit): DeviceCapabilities {
  const { file, readOnly, ops, canPunch } = init;
  const regular = file.kind === "regular";
  const status = regular ? (ops !== undefined ? "exact" : init.trustsBlockCount ? "coarse" : "none") : "none";
  // The kernel copies between files; calls that a program brought along are all to be made.
  const kernelCopies = regular && ops !== undefined && movesBytesAsNode(init.calls);
  if (readOnly) return { ...READ_ONLY_CAPABILITIES, status, lend: kernelCopies };
  // A regular file whose file system cannot punch cannot zero a range either, as far as Linux has any.
  const zeroes =
    ops === undefined ? "no" : regular ? (canPunch ? "fast" : "no") : file.zeroesFast ? "fast" : "slow";
  return {
    write: true,
    fua: false,
    writeZeroes: zeroes,
    unmap: canPunch,
    discard: canPunch ? "zeroes" : "no",
    flush: true,
    resize: regular && !init.fixed ? "both" : "no",
    status,
    copyRange: kernelCopies,
    lend: kernelCopies,
  };
}

/** Nobody counts, delays or fails reads and writes. */
function movesBytesAsNode({ read, readv, write, writev }: FileCalls): boolean {
  const node = NODE_CALLS;
  return read === node.read && readv === node.readv && write === node.write && writev === node.writev;
}

/** The facts of a device made from `init`. */
export function describeDevice(init: FileDeviceInit, can: DeviceCapabilities): DeviceInfo {
  const { file, filename, readOnly, ops, locked } = init;
  return {
    driver: "file",
    label: filename,
    size: file.size,
    readOnly,
    align: { ...BYTE_ALIGNMENT, zero: file.blockSize, discard: file.blockSize },
    max: DEFAULT_LIMITS,
    can,
    identity: file.identity,
    filename,
    ...(file.allocatedSize !== undefined && { allocatedSize: file.allocatedSize }),
    details: { kind: file.kind, native: ops !== undefined, locked },
  };
}
