import { BlockError, toBlockError } from "../../errors.ts";
import { EndOfFileError } from "./positional-io.ts";

/** What was to be done to a file, for the error that says it was not. */
export interface FileOperation {
  readonly operation: string;
  readonly offset?: number;
  readonly length?: number;
}

/** What the host said, as the error of a request to the file `label`, which had `size` bytes when it was opened. */
export function fileError(label: string, size: number, cause: unknown, what: FileOperation): BlockError {
  const context = { node: label, ...what, cause };
  if (!(cause instanceof EndOfFileError)) return toBlockError(cause, context);
  return new BlockError(
    "EIO",
    `${what.operation} on ${label} failed: ${cause.message}, though it had ${size} bytes; another program shortened it: reopen it`,
    context,
  );
}

/** The file system cannot zero in place. */
export function cannotZero(label: string, offset: number, length: number, cause?: unknown): BlockError {
  return new BlockError("ENOTSUP", `${label}: its file system cannot zero a range in place`, {
    node: label,
    operation: "writeZeroes",
    offset,
    length,
    cause,
  });
}

/** Metadata is to be preallocated in a file, which has none. */
export function hasNoTables(label: string): BlockError {
  return new BlockError(
    "ENOTSUP",
    `${label} is a file without tables of its own; preallocate 'full' or 'off'`,
    { node: label, operation: "resize" },
  );
}
