import type { BlockErrorCode } from "@blockmirror/block-driver";

/** Error numbers of replies; they are Linux's, whatever the system. */
export const NbdErrno = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const;

const CODES: ReadonlyMap<number, BlockErrorCode> = new Map<number, BlockErrorCode>([
  // The protocol's only use of it is a change to something read-only.
  [NbdErrno.EPERM, "EROFS"],
  [NbdErrno.EIO, "EIO"],
  [NbdErrno.ENOMEM, "EIO"],
  [NbdErrno.EINVAL, "EINVAL"],
  [NbdErrno.ENOSPC, "ENOSPC"],
  [NbdErrno.EOVERFLOW, "EINVAL"],
  [NbdErrno.ENOTSUP, "ENOTSUP"],
  [NbdErrno.ESHUTDOWN, "ESHUTDOWN"],
]);

/** The code for an error number that a server sent. Unknown numbers are to be read as EINVAL. */
export function blockErrorCode(errorNumber: number): BlockErrorCode {
  return CODES.get(errorNumber) ?? "EINVAL";
}

/**
 * The error number that tells a client of a failure. What has no number of its own is an I/O error: for a client the data is
 * out of reach, whatever the reason.
 */
export function errorNumber(code: BlockErrorCode): number {
  switch (code) {
    case "EINVAL":
      return NbdErrno.EINVAL;
    case "ENOSPC":
    case "EFBIG":
      return NbdErrno.ENOSPC;
    case "EROFS":
    case "EACCES":
      return NbdErrno.EPERM;
    case "ENOTSUP":
      return NbdErrno.ENOTSUP;
    case "ESHUTDOWN":
      return NbdErrno.ESHUTDOWN;
    default:
      return NbdErrno.EIO;
  }
}
