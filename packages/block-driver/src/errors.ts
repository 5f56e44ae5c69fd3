import { printable } from "./printable.ts";

/**
 * The stable codes of {@link BlockError}. POSIX names mean what they mean for a system call; names that POSIX
 * lacks start with `BLK_`.
 *
 * | code | cause | remedy |
 * |---|---|---|
 * | `EINVAL` | a request or an option that can never succeed as given | correct the value the message names |
 * | `EIO` | the storage below failed | look at the storage; retry after it is repaired |
 * | `ENOSPC` | the storage below is full | free space, then retry |
 * | `EROFS` | a write to something opened read-only | open it writable |
 * | `ENOTSUP` | the driver lacks this operation or flag; nothing was done | use another operation or driver |
 * | `EFBIG` | beyond 2^53-1 bytes, or beyond what the storage can hold | use a smaller image |
 * | `EBUSY` | somebody else uses the image in a way that excludes this | end the other use |
 * | `EACCES`, `ENOENT`, `EEXIST`, `EISDIR` | the file system refused | as the message says |
 * | `ECANCELED` | the caller's signal was aborted before anything happened | none |
 * | `ETIMEDOUT` | the storage below did not answer in time | look at the storage |
 * | `ESHUTDOWN` | the node or device is closed, or the edge was detached | open or attach it again |
 * | `BLK_CORRUPT` | the image contradicts itself | check and repair the image |
 * | `BLK_DENIED` | a name inside an image was refused by the open gate | allow it explicitly |
 * | `BLK_FENCED` | an earlier failure made the node's state unknown; every request is refused | close the node and open it again |
 */
export type BlockErrorCode =
  | "EINVAL"
  | "EIO"
  | "ENOSPC"
  | "EROFS"
  | "ENOTSUP"
  | "EFBIG"
  | "EBUSY"
  | "EACCES"
  | "ENOENT"
  | "EEXIST"
  | "EISDIR"
  | "ECANCELED"
  | "ETIMEDOUT"
  | "ESHUTDOWN"
  | "BLK_CORRUPT"
  | "BLK_DENIED"
  | "BLK_FENCED";

const KNOWN_CODES: ReadonlySet<string> = new Set<BlockErrorCode>([
  "EINVAL",
  "EIO",
  "ENOSPC",
  "EROFS",
  "ENOTSUP",
  "EFBIG",
  "EBUSY",
  "EACCES",
  "ENOENT",
  "EEXIST",
  "EISDIR",
  "ECANCELED",
  "ETIMEDOUT",
  "ESHUTDOWN",
  "BLK_CORRUPT",
  "BLK_DENIED",
  "BLK_FENCED",
]);

/** Where an error happened; every part is optional and repeated in the message where it helps. */
export interface BlockErrorContext {
  /** Name of the node or label of the device. */
  readonly node?: string;
  /** The operation that failed, e.g. `read`, `writeZeroes`, `open`. */
  readonly operation?: string;
  /** Byte offset of the failed request. */
  readonly offset?: number;
  /** Length of the failed request in bytes. */
  readonly length?: number;
  /** What caused it; kept as `Error.cause`. */
  readonly cause?: unknown;
}

/**
 * The one error class of the block layer. Test `code`, never `message`: codes are stable, texts are for people.
 * Texts are one line without control characters, whatever is named in them.
 * Misuse by the programmer (a negative length, a wrong type) is a `TypeError` or `RangeError` instead.
 */
export class BlockError extends Error {
  override readonly name: string = "BlockError";
  readonly code: BlockErrorCode;
  readonly node: string | undefined;
  readonly operation: string | undefined;
  readonly offset: number | undefined;
  readonly length: number | undefined;

  constructor(code: BlockErrorCode, message: string, context: BlockErrorContext = {}) {
    super(printable(message), context.cause === undefined ? undefined : { cause: context.cause });
    this.code = code;
    this.node = context.node;
    this.operation = context.operation;
    this.offset = context.offset;
    this.length = context.length;
  }
}

/** The POSIX errors that mean "no space" for error policies, folded to `ENOSPC`. */
const NO_SPACE: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT"]);

function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}

/**
 * Turns whatever a system call threw into a {@link BlockError} that names node, operation, offset and length.
 * A `BlockError` is returned as it is: the innermost context is the most precise.
 */
export function toBlockError(error: unknown, context: BlockErrorContext): BlockError {
  if (error instanceof BlockError) return error;
  const posix = systemCode(error);
  const code = foldCode(posix);
  const range =
    context.offset === undefined
      ? ""
      : ` at offset ${context.offset}${context.length === undefined ? "" : ` (${context.length} bytes)`}`;
  const text = error instanceof Error ? error.message : String(error);
  const message = `${context.operation ?? "request"} on ${context.node ?? "device"}${range} failed: ${text}`;
  return new BlockError(code, message, { ...context, cause: error });
}

function foldCode(posix: string | undefined): BlockErrorCode {
  if (posix === undefined) return "EIO";
  if (NO_SPACE.has(posix)) return "ENOSPC";
  if (posix === "EPERM") return "EACCES";
  if (posix === "EOPNOTSUPP" || posix === "ENOSYS") return "ENOTSUP";
  return isBlockErrorCode(posix) ? posix : "EIO";
}

function isBlockErrorCode(code: string): code is BlockErrorCode {
  return KNOWN_CODES.has(code);
}
