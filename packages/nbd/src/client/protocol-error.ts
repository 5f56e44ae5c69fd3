import type { BlockErrorCode } from "@blockmirror/block-driver";

/**
 * The server broke the protocol: what it sends can no longer be understood, and the connection with it is over. Becomes
 * the `cause` of the `BlockError` that requests fail with.
 */
export class ProtocolError extends Error {
  override readonly name: string = "ProtocolError";
}

/** The server is sound and says no: unknown export, TLS wanted or refused, an export that cannot be used. */
export class ExportRefusedError extends Error {
  override readonly name: string = "ExportRefusedError";
  /** What to report it as. */
  readonly code: BlockErrorCode;

  constructor(message: string, init: { readonly code?: BlockErrorCode; readonly cause?: unknown } = {}) {
    super(message, init.cause === undefined ? undefined : { cause: init.cause });
    this.code = init.code ?? "EINVAL";
  }
}
