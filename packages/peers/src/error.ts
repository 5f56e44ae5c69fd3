/**
 * Stable reasons of a {@link PeerError}.
 *
 * - `PEER_MISSING`: the program is not on this machine; the message names the Debian package.
 * - `PEER_FAILED`: it ended with an exit status the caller did not allow, or by a signal.
 * - `PEER_TIMEOUT`: it did not end, answer or report in the time it was given.
 * - `PEER_GONE`: a daemon ended while something was still asked of it.
 * - `QMP_ERROR`: a QMP command was refused; `qmpClass` holds the class of the error reply.
 */
export type PeerErrorCode = "PEER_MISSING" | "PEER_FAILED" | "PEER_TIMEOUT" | "PEER_GONE" | "QMP_ERROR";

/** What {@link PeerError} carries besides its message. */
export interface PeerErrorDetails {
  readonly exitCode?: number | undefined;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly qmpClass?: string;
  readonly cause?: unknown;
}

/** The only error this package throws at run time; tests match `code`. */
export class PeerError extends Error {
  readonly code: PeerErrorCode;
  /** Exit status of the program; absent when it was ended by a signal or never ran. */
  readonly exitCode?: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly qmpClass?: string;

  constructor(code: PeerErrorCode, message: string, details: PeerErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "PeerError";
    this.code = code;
    this.stdout = details.stdout ?? "";
    this.stderr = details.stderr ?? "";
    if (details.exitCode !== undefined) this.exitCode = details.exitCode;
    if (details.qmpClass !== undefined) this.qmpClass = details.qmpClass;
  }
}
