import type { Duplex } from "node:stream";

import { commandError, QmpError } from "../errors.ts";
import { JsonReader, type JsonReaderOptions } from "../json/reader.ts";
import { stringify } from "../json/stringify.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../json/value.ts";
import { nowTimestamp, type QmpTimestamp, type QmpVersion } from "../message.ts";
import { validateArguments } from "../schema/validate.ts";
import type { CommandTable } from "./command-table.ts";
import { readRequest, requestId } from "./request.ts";

/** How a {@link QmpServerConnection} behaves. */
export interface QmpServerOptions {
  readonly version: QmpVersion;
  /** Offer out-of-band execution. Default true. */
  readonly oob?: boolean;
  /** Spread each message over many lines, for people to read. Default false: one line each. */
  readonly pretty?: boolean;
  /** Limits of what a client may send in one message. */
  readonly limits?: JsonReaderOptions;
  /** Bytes that may wait for a client that does not read; beyond them it is disconnected. Default 64 MiB. */
  readonly maxBacklogBytes?: number;
  /** Told of failures of commands that are not QmpErrors; the client gets their message. Default: nobody. */
  readonly onInternalError?: (error: unknown, command: string) => void;
}

/** Commands that may wait for those before them; more are left in the socket until there is room. */
const MAX_QUEUED_COMMANDS = 8;

const DEFAULT_MAX_BACKLOG_BYTES = 64 * 1024 * 1024;

/** How long the commands of one client may keep everything else waiting, in milliseconds. */
const TURN_MS = 5;

/** How long a client may take to read the last of what was sent, in milliseconds. */
const CLOSE_GRACE_MS = 2000;

/**
 * The server's end of one QMP connection, over any duplex stream: greets, negotiates, checks and runs the commands of a
 * table, one after the other, and answers in the order of the requests. Out-of-band commands overtake.
 *
 * The stream belongs to the connection from its construction on, which greets at once.
 */
export class QmpServerConnection {
  readonly #stream: Duplex;
  readonly #table: CommandTable;
  readonly #options: QmpServerOptions;
  readonly #reader: JsonReader;
  readonly #gone: AbortController = new AbortController();
  readonly #closed: Promise<void>;
  /** In-band requests and errors that wait for their turn. */
  readonly #queue: (() => Promise<void>)[] = [];
  #isWorking = false;
  #isNegotiated = false;
  #isOobEnabled = false;

  constructor(stream: Duplex, table: CommandTable, options: QmpServerOptions) {
    this.#stream = stream;
    this.#table = table;
    this.#options = options;
    this.#reader = new JsonReader("strict", options.limits);
    this.#closed = new Promise((resolve) => stream.once("close", resolve));
    stream.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    // The other end closes its side when it has sent everything: what it asked for is still done and answered.
    stream.once("end", () => this.#enqueue(async () => void stream.end()));
    stream.once("error", () => stream.destroy());
    stream.once("close", () => this.#gone.abort(new QmpError("QMP_CLOSED", "the QMP client is gone")));
    const capabilities = options.oob === false ? [] : ["oob"];
    this.#send({
      QMP: { version: { qemu: options.version.qemu, package: options.version.package }, capabilities },
    });
  }

  /** Settles when the connection has ended, for whatever reason. */
  get closed(): Promise<void> {
    return this.#closed;
  }

  /** Whether the client has negotiated, and so gets events. */
  get isNegotiated(): boolean {
    return this.#isNegotiated;
  }

  /** Sends an event, if the client has negotiated. */
  sendEvent(name: string, data: JsonObject, timestamp: QmpTimestamp = nowTimestamp()): void {
    if (!this.#isNegotiated) return;
    const { seconds, microseconds } = timestamp;
    this.#send({ timestamp: { seconds, microseconds }, event: name, data });
  }

  /**
   * Ends the connection after what has been sent has left. A client that has not taken it within two seconds is
   * disconnected: one that has stopped reading must not keep a server from ending. May be called again.
   */
  async close(): Promise<void> {
    const deadline = setTimeout(() => this.#stream.destroy(), CLOSE_GRACE_MS);
    if (!this.#stream.destroyed) this.#stream.end(() => this.#stream.destroy());
    await this.#closed;
    clearTimeout(deadline);
  }

  /** Ends the connection at once; what the client has not read is lost. */
  destroy(): void {
    this.#stream.destroy();
  }

  #receive(chunk: Uint8Array): void {
    for (const read of this.#reader.push(chunk)) {
      if (read.kind === "error") this.#enqueue(async () => this.#answerError({}, commandError(read.message)));
      else this.#accept(read.value);
    }
    if (this.#queue.length >= MAX_QUEUED_COMMANDS) this.#stream.pause();
  }

  #accept(message: JsonValue): void {
    const isOutOfBand = this.#isOobEnabled && isJsonObject(message) && message["exec-oob"] !== undefined;
    if (isOutOfBand) void this.#execute(message);
    else this.#enqueue(() => this.#execute(message));
  }

  #enqueue(work: () => Promise<void>): void {
    this.#queue.push(work);
    if (!this.#isWorking) void this.#work();
  }

  async #work(): Promise<void> {
    this.#isWorking = true;
    let turnBeganMs = performance.now();
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      await next();
      // Long before it would be disconnected, a client that asks and does not read has to read.
      if (this.#stream.writableLength > this.#maxBacklogBytes / 4) await this.#drained();
      if (this.#queue.length > 0 && performance.now() - turnBeganMs > TURN_MS) {
        // Others want their turn, and the answers so far to leave: nothing is sent before the event loop has had one.
        await new Promise(setImmediate);
        turnBeganMs = performance.now();
      }
      if (this.#queue.length < MAX_QUEUED_COMMANDS && this.#stream.isPaused()) await this.#readOn();
    }
    this.#isWorking = false;
  }

  /** Goes on reading when the client reads too. */
  async #readOn(): Promise<void> {
    await this.#drained();
    this.#stream.resume();
  }

  async #drained(): Promise<void> {
    if (!this.#stream.writableNeedDrain) return;
    await Promise.race([new Promise<void>((resolve) => this.#stream.once("drain", resolve)), this.#closed]);
  }

  get #maxBacklogBytes(): number {
    return this.#options.maxBacklogBytes ?? DEFAULT_MAX_BACKLOG_BYTES;
  }

  async #execute(message: JsonValue): Promise<void> {
    const id = requestId(message);
    let command = "";
    try {
      const request = readRequest(message, this.#isOobEnabled);
      command = request.command;
      if (!this.#isNegotiated || command === "qmp_capabilities") {
        this.#negotiate(command, request.arguments);
        this.#send({ return: {}, ...id });
        return;
      }
      const run = this.#table.prepare(command, request.arguments, request.isOutOfBand);
      this.#send({ return: await run({ signal: this.#gone.signal }), ...id });
    } catch (error) {
      if (!(error instanceof QmpError)) this.#options.onInternalError?.(error, command);
      this.#answerError(id, error);
    }
  }

  #negotiate(command: string, args: JsonObject): void {
    if (command !== "qmp_capabilities") {
      throw commandError("Expecting capabilities negotiation with 'qmp_capabilities'", "CommandNotFound");
    }
    if (this.#isNegotiated) {
      throw commandError("Capabilities negotiation is already complete, command ignored", "CommandNotFound");
    }
    validateArguments(this.#table.schema, { "enable?": ["str"] }, args);
    const enable = args["enable"];
    const wanted: readonly unknown[] = Array.isArray(enable) ? enable : [];
    for (const capability of wanted) {
      if (capability !== "oob" || this.#options.oob === false) {
        throw commandError(`Parameter 'enable' does not accept value '${String(capability)}'`);
      }
    }
    this.#isNegotiated = true;
    this.#isOobEnabled = wanted.length > 0;
  }

  #answerError(id: { readonly id?: JsonValue }, error: unknown): void {
    const errorClass = error instanceof QmpError ? (error.errorClass ?? "GenericError") : "GenericError";
    const desc = error instanceof Error ? error.message : String(error);
    this.#send({ error: { class: errorClass, desc }, ...id });
  }

  #send(message: object): void {
    if (this.#stream.destroyed || this.#stream.writableEnded) return;
    this.#stream.write(`${stringify(message, { pretty: this.#options.pretty === true })}\r\n`);
    if (this.#stream.writableLength > this.#maxBacklogBytes) this.#stream.destroy();
  }
}
