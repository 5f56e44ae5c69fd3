/**
 * The error classes a server may answer with. Nearly every failure is a `GenericError`; clients decide by the others
 * only, and show the description to people.
 */
export type QmpErrorClass =
  | "GenericError"
  | "CommandNotFound"
  | "DeviceNotActive"
  | "DeviceNotFound"
  | "KVMMissingCap";

const ERROR_CLASSES: ReadonlySet<string> = new Set<QmpErrorClass>([
  "GenericError",
  "CommandNotFound",
  "DeviceNotActive",
  "DeviceNotFound",
  "KVMMissingCap",
]);

/** Reads the class of an error reply; one that is not known counts as `GenericError`. */
export function toErrorClass(name: unknown): QmpErrorClass {
  return isErrorClass(name) ? name : "GenericError";
}

function isErrorClass(name: unknown): name is QmpErrorClass {
  return typeof name === "string" && ERROR_CLASSES.has(name);
}

/**
 * The stable codes of {@link QmpError}.
 *
 * | code | cause | remedy |
 * |---|---|---|
 * | `QMP_COMMAND_FAILED` | the server answered with an error; `errorClass` and `command` are set | as the description says |
 * | `QMP_PARSE` | the other end sent something else than JSON, or more than the limits allow | look at what is connected |
 * | `QMP_NOT_QMP` | JSON, but no QMP greeting or an impossible message | connect to a QMP monitor |
 * | `QMP_BUSY` | connected, and no greeting came: the monitor serves another client | wait, or end the other client |
 * | `QMP_CONNECT` | the socket could not be reached; `cause` tells why | start the server, correct the address |
 * | `QMP_CLOSED` | the connection ended before the answer came | connect again |
 * | `QMP_TIMEOUT` | no answer in the time the caller allowed | a longer time; look at the server |
 */
export type QmpErrorCode =
  | "QMP_COMMAND_FAILED"
  | "QMP_PARSE"
  | "QMP_NOT_QMP"
  | "QMP_BUSY"
  | "QMP_CONNECT"
  | "QMP_CLOSED"
  | "QMP_TIMEOUT";

/** What a {@link QmpError} may tell besides its message. */
export interface QmpErrorDetails {
  /** Class of the error reply; with `QMP_COMMAND_FAILED`. */
  readonly errorClass?: QmpErrorClass;
  /** The command it belongs to. */
  readonly command?: string;
  readonly cause?: unknown;
}

/** Everything that can go wrong on a QMP connection. Decide by {@link QmpError.code}, never by the message. */
export class QmpError extends Error {
  /** Which failure this is; stable. */
  readonly code: QmpErrorCode;
  /** Class of the error reply; set with `QMP_COMMAND_FAILED`. */
  readonly errorClass: QmpErrorClass | undefined;
  /** The command it belongs to, where there is one. */
  readonly command: string | undefined;

  constructor(code: QmpErrorCode, message: string, details: QmpErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "QmpError";
    this.code = code;
    this.errorClass = details.errorClass;
    this.command = details.command;
  }
}

/**
 * What a command of a server throws to answer with an error: `throw commandError("Node 'a' is in use")`.
 *
 * @param description what, where and what to do, for people.
 * @param errorClass default `GenericError`, as nearly all are.
 */
export function commandError(description: string, errorClass: QmpErrorClass = "GenericError"): QmpError {
  return new QmpError("QMP_COMMAND_FAILED", description, { errorClass });
}
