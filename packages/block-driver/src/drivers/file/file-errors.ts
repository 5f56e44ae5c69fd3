import { BlockError, toBlockError } from "../../errors.ts";
import { EndOfFileError } from "./positional-io.ts";

/** What was to be done to a file, for the error that says it was not. */
export interface FileOperation {
  readonly operation: string;
  readonly offset?: number;
  readonly length?: number;
}

/** What helps when the host's file is no longer what was opened: nothing takes up its new size in place. */
const CLOSE_AND_OPEN = "end what uses it, see that the file is whole, and open it again";

/** Another program gave the file another size. */
export function resizedElsewhere(label: string, expected: number, actual: number): BlockError {
  return new BlockError(
    "EIO",
    `${label} has ${actual} bytes, it had ${expected} when it was opened: another program resized it; ${CLOSE_AND_OPEN}`,
    { node: label, operation: "resize" },
  );
}

/** What the host said, as the error of a request to the file `label`, which had `size` bytes when it was opened. */
export function fileError(label: string, size: number, cause: unknown, what: FileOperation): BlockError {
  const context = { node: label, ...what, cause };
  if (!(cause instanceof EndOfFileError)) return toBlockError(cause, context);
  return new BlockError(
    "EIO",
    `${what.operation} on ${label} failed: ${cause.message}, though it had ${size} bytes; another program shortened it; ${CLOSE_AND_OPEN}`,
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
