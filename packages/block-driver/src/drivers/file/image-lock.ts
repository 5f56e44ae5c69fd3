import { BlockError } from "../../errors.ts";
import type { FileOps } from "./file-ops.ts";
import { systemErrorCode } from "./system-error.ts";

/**
 * Image locking as QEMU does it, so that a running QEMU and this driver refuse each other's images. Observed of QEMU 7.2:
 * who uses a permission holds a shared open-file-description lock on byte 100 plus the permission's number; who does not
 * tolerate that others use it holds one on byte 200 plus the number. After taking its own, everybody looks for locks that
 * contradict them. The numbers follow QEMU's list of block permissions.
 */
const USED_BASE = 100;
const UNSHARED_BASE = 200;
const LOCK_PERMISSIONS = { "consistent-read": 0, write: 1, resize: 3 } as const;

/** A permission that takes part in image locking. */
export type LockPermission = keyof typeof LOCK_PERMISSIONS;

/** What the holder of an image does with it, and what it cannot stand others doing. */
export interface LockClaim {
  readonly uses: readonly LockPermission[];
  readonly excludes: readonly LockPermission[];
}

/** A writer excludes other writers; readers exclude it themselves, because they would see it half changed. */
export function writerClaim(resizes: boolean): LockClaim {
  return {
    uses: resizes ? ["consistent-read", "write", "resize"] : ["consistent-read", "write"],
    excludes: ["write", "resize"],
  };
}

/** Readers share an image with readers. */
const READER_CLAIM: LockClaim = { uses: ["consistent-read"], excludes: ["write", "resize"] };

/** The claim of somebody who opens an image in one mode or the other; `resizes` matters to writers. */
export function lockClaim(readOnly: boolean, resizes: boolean): LockClaim {
  return readOnly ? READER_CLAIM : writerClaim(resizes);
}

/** What a file system answers that has no such locks; anything else is a real failure. */
const NO_LOCKS: ReadonlySet<string> = new Set(["EINVAL", "ENOLCK", "ENOSYS", "ENOTSUP", "EOPNOTSUPP"]);

/**
 * Locks the image behind `fd` by `claim`. The locks end with {@link unlockImage} or when the descriptor is closed.
 * @returns false when the file system has no locks; nothing is locked then.
 * @throws BlockError `EBUSY` when somebody else's use contradicts the claim; nothing stays locked then.
 */
export function lockImage(ops: FileOps, fd: number, claim: LockClaim, label: string): boolean {
  const own = [
    ...claim.uses.map((permission) => USED_BASE + LOCK_PERMISSIONS[permission]),
    ...claim.excludes.map((permission) => UNSHARED_BASE + LOCK_PERMISSIONS[permission]),
  ];
  try {
    for (const byte of own) ops.setLock(fd, byte, "shared");
    for (const permission of claim.uses) {
      if (ops.isLockedByOther(fd, UNSHARED_BASE + LOCK_PERMISSIONS[permission])) {
        throw conflict(label, permission, `does not allow it ("${permission}" is not shared)`);
      }
    }
    for (const permission of claim.excludes) {
      if (ops.isLockedByOther(fd, USED_BASE + LOCK_PERMISSIONS[permission])) {
        throw conflict(label, permission, `has it open with "${permission}" permission`);
      }
    }
    return true;
  } catch (error) {
    releaseBytes(ops, fd, own);
    const code = systemErrorCode(error);
    if (code === "EAGAIN" || code === "EACCES") {
      throw conflict(
        label,
        claim.uses.includes("write") ? "write" : "consistent-read",
        "locked it exclusively",
      );
    }
    if (!(error instanceof BlockError) && code !== undefined && NO_LOCKS.has(code)) return false;
    throw error;
  }
}

/** Releases everything that {@link lockImage} took. */
export function unlockImage(ops: FileOps, fd: number): void {
  const bytes = Object.values(LOCK_PERMISSIONS).flatMap((number) => [
    USED_BASE + number,
    UNSHARED_BASE + number,
  ]);
  releaseBytes(ops, fd, bytes);
}

function releaseBytes(ops: FileOps, fd: number, bytes: readonly number[]): void {
  for (const byte of bytes) {
    try {
      ops.setLock(fd, byte, "unlock");
    } catch {
      // The descriptor is about to be closed, which releases whatever is left.
    }
  }
}

function conflict(label: string, permission: LockPermission, why: string): BlockError {
  return new BlockError(
    "EBUSY",
    `${label} is in use: another program (a running QEMU, or another open of the same image) ${why}; end that use first`,
    { node: label, operation: `open (lock "${permission}")` },
  );
}
