import { BlockError, toBlockError, type BlockErrorCode } from "@blockmirror/block-driver";
import { ExportRefusedError, ProtocolError } from "./protocol-error.ts";
import type { Request } from "./request.ts";

/** A request was not answered in time. Kept as the `cause` of the `BlockError`. */
export class LateError extends Error {
  override readonly name: string = "LateError";
}

/** The failure of one request. */
export function requestFailure(
  code: BlockErrorCode,
  label: string,
  request: Request,
  text: string,
  cause?: unknown,
): BlockError {
  const { operation, offset, length } = request;
  const range = operation === "flush" ? "" : ` at offset ${offset} (${length} bytes)`;
  return new BlockError(code, `${operation} on ${label}${range} failed: ${text}`, {
    node: label,
    operation,
    ...(operation !== "flush" && { offset, length }),
    ...(cause !== undefined && { cause }),
  });
}

/** What a request ends with when its caller gave it up. */
export function cancellation(label: string, { operation, offset, length }: Request): BlockError {
  const context = { node: label, operation, offset, length };
  return new BlockError("ECANCELED", `${operation} on ${label} was cancelled`, context);
}

/** The failure of an attempt to connect, with a remedy. The label names the address already. */
export function openFailure(error: unknown, label: string): BlockError {
  if (error instanceof BlockError) return error;
  const context = { node: label, operation: "open", cause: error };
  if (error instanceof ExportRefusedError)
    return new BlockError(error.code, `cannot open ${label}: ${error.message}`, context);
  if (error instanceof ProtocolError) {
    return new BlockError(
      "EIO",
      `cannot open ${label}: ${error.message}; is this an NBD server, and is TLS set on neither side or on both?`,
      context,
    );
  }
  if (error instanceof LateError)
    return new BlockError("ETIMEDOUT", `cannot open ${label}: ${error.message}`, context);
  const { code } = toBlockError(error, context);
  const text = `cannot open ${label}: ${describeRefusal(error)}; is the server running there?`;
  return new BlockError(code, text, context);
}

const REFUSALS: Readonly<Record<string, string>> = {
  EACCES: "its socket may not be used (EACCES)",
  ECONNREFUSED: "nobody listens there (ECONNREFUSED)",
  EHOSTUNREACH: "no way leads to that host (EHOSTUNREACH)",
  ENOENT: "there is no such socket (ENOENT)",
  ENOTFOUND: "no host has that name (ENOTFOUND)",
};

/** Why there is no connection, without the address: who tells of it has named it, and Node would name it again. */
export function describeRefusal(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return ("code" in error ? REFUSALS[String(error.code)] : undefined) ?? error.message;
}

/** What ended a connection, in words. */
export function describeLoss(error: Error | undefined): string {
  return error === undefined ? "the server hung up" : error.message;
}

/** The fence of a device whose server was lost with writes that it had answered and not flushed. */
class UnflushedLoss extends BlockError {}

/** Makes that fence; `count` writes are concerned. */
export function unflushedLoss(label: string, count: number, error: Error | undefined): BlockError {
  return new UnflushedLoss(
    "BLK_FENCED",
    `${label} refuses requests: the connection was lost (${describeLoss(error)}) while ${count} writes were answered but not flushed, and a server that was started again may not have them: close it, open it again and write the data again, or have the unflushed writes of a server that keeps what it answered trusted`,
    { node: label, ...(error !== undefined && { cause: error }) },
  );
}

/**
 * Whether an error comes from the loss of a server with unflushed writes, so that the option `unflushedWrites: "trust"` is a
 * remedy for servers that keep what they answered. Looks at its causes, too.
 */
export function isUnflushedLoss(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) if (at instanceof UnflushedLoss) return true;
  return false;
}
