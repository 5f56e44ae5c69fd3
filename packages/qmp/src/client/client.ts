import { connect as connectSocket } from "node:net";
import type { Duplex } from "node:stream";

import { QmpError, toErrorClass } from "../errors.ts";
import { JsonReader, type JsonReaderOptions } from "../json/reader.ts";
import { stringify } from "../json/stringify.ts";
import { isJsonObject, type JsonObject, type JsonValue } from "../json/value.ts";
import type { QmpAnyEvent, QmpEventOf, QmpGreeting } from "../message.ts";
import type { BlockCommands, BlockEvents } from "../schema/block-schema.ts";
import type { CommandMap } from "../schema/type-of.ts";
import { formatQmpAddress, parseQmpAddress, type QmpAddress } from "./address.ts";
import { EventStream } from "./event-stream.ts";
import { readEvent, readGreeting } from "./read-message.ts";

/** How a {@link QmpClient} connects. */
export interface QmpConnectOptions {
  /** Gives up connecting; has no effect on an open connection. */
  readonly signal?: AbortSignal;
  /**
   * How long to wait for the greeting, in milliseconds, before the monitor counts as busy with another client
   * (`QMP_BUSY`). Default 3000.
   */
  readonly greetingTimeoutMs?: number;
  /**
   * How long to wait, after the greeting, for the answer to `qmp_capabilities`, in milliseconds; `QMP_TIMEOUT` beyond.
   * Default 10000: a server that greets from a thread of its own may be busy with something else for a while.
   */
  readonly negotiationTimeoutMs?: number;
  /** Enable out-of-band execution if the server offers it. Default false. */
  readonly oob?: boolean;
  /** Limits of what the server may send in one message. */
  readonly limits?: JsonReaderOptions;
}

/** How one command is executed. */
export interface QmpExecuteOptions {
  /** Stops waiting. The server is not told, as QMP has no word for that: the command may still take effect. */
  readonly signal?: AbortSignal;
  /** How long to wait for the answer, in milliseconds; `QMP_TIMEOUT` beyond. Default: for ever. */
  readonly timeoutMs?: number;
  /** Execute out of band; the connection must have it enabled and the command must allow it. Default false. */
  readonly oob?: boolean;
}

const DEFAULT_GREETING_TIMEOUT_MS = 3000;
const DEFAULT_NEGOTIATION_TIMEOUT_MS = 10_000;

interface Pending {
  readonly command: string;
  readonly resolve: (value: JsonValue) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * A client of any QMP server: QEMU, qemu-storage-daemon, Blockmirror's.
 *
 * Commands and events of the block layer are typed; give `Commands` and `Events` to type others.
 */
export class QmpClient<Commands extends CommandMap = BlockCommands, Events = BlockEvents> {
  readonly #stream: Duplex;
  readonly #reader: JsonReader;
  readonly #name: string;
  readonly #pending: Map<string, Pending> = new Map();
  readonly #streams: Set<EventStream<QmpEventOf<Events>>> = new Set();
  readonly #closed: Promise<QmpError>;
  #end: QmpError | undefined;
  #greeting: QmpGreeting | undefined;
  #greeted: ((result: QmpGreeting | QmpError) => void) | undefined;
  #nextId = 0;
  #isOobEnabled = false;

  private constructor(stream: Duplex, name: string, limits: JsonReaderOptions | undefined) {
    this.#stream = stream;
    this.#name = name;
    this.#reader = new JsonReader("fast", limits);
    this.#closed = new Promise((resolve) => {
      stream.once("close", () =>
        resolve(this.#fail(new QmpError("QMP_CLOSED", `${name}: the connection has ended`))),
      );
    });
    stream.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    stream.on("error", (cause: Error) => {
      this.#fail(new QmpError("QMP_CLOSED", `${name}: ${cause.message}`, { cause }));
    });
    stream.once("end", () => stream.destroy());
  }

  /**
   * Connects, waits for the greeting and negotiates.
   *
   * @param address a socket's path, `HOST:PORT`, or an address; see {@link parseQmpAddress}.
   * @throws QmpError `QMP_CONNECT`, `QMP_BUSY`, `QMP_NOT_QMP`, `QMP_CLOSED`, `QMP_TIMEOUT`; the signal's reason when it is
   *   aborted.
   */
  static async connect<Commands extends CommandMap = BlockCommands, Events = BlockEvents>(
    address: string | QmpAddress,
    options: QmpConnectOptions = {},
  ): Promise<QmpClient<Commands, Events>> {
    const where = typeof address === "string" ? parseQmpAddress(address) : address;
    const stream = await openStream(where, options.signal);
    return QmpClient.over<Commands, Events>(stream, formatQmpAddress(where), options);
  }

  /**
   * Speaks QMP over a stream that is open already: standard input and output of a child, an SSH channel, a test's pair.
   * The stream is the client's from here on, and is destroyed if this fails.
   *
   * @param name what the peer is called in messages.
   */
  static async over<Commands extends CommandMap = BlockCommands, Events = BlockEvents>(
    stream: Duplex,
    name: string,
    options: QmpConnectOptions = {},
  ): Promise<QmpClient<Commands, Events>> {
    const client = new QmpClient<Commands, Events>(stream, name, options.limits);
    try {
      await client.#open(options);
      return client;
    } catch (error) {
      stream.destroy();
      throw error;
    }
  }

  /** What the server said of itself. */
  get greeting(): QmpGreeting {
    if (this.#greeting === undefined) throw new TypeError("The client has not been greeted");
    return this.#greeting;
  }

  /** What the peer is called in messages: its address. */
  get name(): string {
    return this.#name;
  }

  /** Settles, never rejects, when the connection has ended, with why. */
  get closed(): Promise<QmpError> {
    return this.#closed;
  }

  /** Whether commands can be sent. */
  get isOpen(): boolean {
    return this.#end === undefined;
  }

  /** Whether out-of-band execution is enabled. */
  get isOobEnabled(): boolean {
    return this.#isOobEnabled;
  }

  /**
   * Executes a command and waits for its result.
   *
   * @throws QmpError `QMP_COMMAND_FAILED` with the server's description and class; `QMP_CLOSED`; `QMP_TIMEOUT`; the
   *   signal's reason when it is aborted.
   */
  async execute<Name extends keyof Commands & string>(
    command: Name,
    ...[args, options]: Partial<Commands[Name]["arguments"]> extends Commands[Name]["arguments"]
      ? [args?: Commands[Name]["arguments"], options?: QmpExecuteOptions]
      : [args: Commands[Name]["arguments"], options?: QmpExecuteOptions]
  ): Promise<Commands[Name]["returns"]> {
    return this.executeUntyped(command, args, options);
  }

  /** The same for a command that the types do not know; its result is whatever the server answers. */
  async executeUntyped(command: string, args?: object, options: QmpExecuteOptions = {}): Promise<JsonValue> {
    options.signal?.throwIfAborted();
    if (this.#end !== undefined) throw this.#end;
    if (options.oob === true && !this.#isOobEnabled) {
      throw new TypeError("Out-of-band execution is not enabled on this connection");
    }
    const id = String((this.#nextId += 1));
    const request = { [options.oob === true ? "exec-oob" : "execute"]: command, arguments: args, id };
    const text = `${stringify(request)}\r\n`;
    let giveUp: (() => void) | undefined;
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<JsonValue>((resolve, reject) => {
        this.#pending.set(id, { command, resolve, reject });
        giveUp = () => reject(toError(options.signal?.reason));
        options.signal?.addEventListener("abort", giveUp, { once: true });
        if (options.timeoutMs !== undefined) {
          const expired = new QmpError(
            "QMP_TIMEOUT",
            `${this.#name}: no answer to ${command} within ${options.timeoutMs} ms`,
            { command },
          );
          timer = setTimeout(() => reject(expired), options.timeoutMs);
        }
        this.#stream.write(text);
      });
    } finally {
      this.#pending.delete(id);
      clearTimeout(timer);
      if (giveUp !== undefined) options.signal?.removeEventListener("abort", giveUp);
    }
  }

  /**
   * The events from this call on, in order, until the loop is left, the signal is aborted or the client closed. Throws
   * when the connection ends otherwise. Every iterator gets every event, those of unknown names included.
   */
  events(
    options: { readonly signal?: AbortSignal } = {},
  ): AsyncIterableIterator<QmpEventOf<Events>, undefined> {
    const { signal } = options;
    const abort = (): void => stream.end();
    const stream = new EventStream<QmpEventOf<Events>>(() => {
      this.#streams.delete(stream);
      signal?.removeEventListener("abort", abort);
    });
    this.#streams.add(stream);
    signal?.addEventListener("abort", abort, { once: true });
    if (signal?.aborted === true) stream.end();
    if (this.#end !== undefined) stream.end(this.#end);
    return stream;
  }

  /** Ends the connection. Commands that wait fail with `QMP_CLOSED`, loops over events end. May be called again. */
  async close(): Promise<void> {
    const reason = new QmpError("QMP_CLOSED", `${this.#name}: closed by this client`);
    for (const stream of this.#streams) stream.end();
    this.#fail(reason);
    await this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #open(options: QmpConnectOptions): Promise<void> {
    const timeoutMs = options.greetingTimeoutMs ?? DEFAULT_GREETING_TIMEOUT_MS;
    options.signal?.throwIfAborted();
    const abort = (): void => void this.#fail(toError(options.signal?.reason));
    options.signal?.addEventListener("abort", abort, { once: true });
    const timer = setTimeout(() => {
      const message = `${this.#name}: connected, and no greeting within ${timeoutMs} ms: the monitor is busy with another client`;
      this.#fail(new QmpError("QMP_BUSY", message));
    }, timeoutMs);
    try {
      const result = await new Promise<QmpGreeting | Error>((resolve) => {
        this.#greeted = resolve;
        if (this.#end !== undefined) resolve(this.#end);
      });
      clearTimeout(timer);
      if (result instanceof Error) throw options.signal?.aborted === true ? options.signal.reason : result;
      this.#greeting = result;
      this.#isOobEnabled = options.oob === true && result.capabilities.includes("oob");
      const args = this.#isOobEnabled ? { enable: ["oob"] } : undefined;
      await this.executeUntyped("qmp_capabilities", args, {
        timeoutMs: options.negotiationTimeoutMs ?? DEFAULT_NEGOTIATION_TIMEOUT_MS,
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      });
    } finally {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", abort);
    }
  }

  #receive(chunk: Uint8Array): void {
    for (const read of this.#reader.push(chunk)) {
      if (this.#end !== undefined) return;
      if (read.kind === "error") this.#fail(new QmpError("QMP_PARSE", `${this.#name}: ${read.message}`));
      else this.#accept(read.value);
    }
  }

  #accept(message: JsonValue): void {
    if (!isJsonObject(message)) this.#refuse("something else than an object");
    else if (this.#greeting === undefined && this.#greeted !== undefined && "QMP" in message) {
      this.#greet(message);
    } else if (typeof message["event"] === "string") this.#deliver(message, message["event"]);
    else this.#settle(message);
  }

  #greet(message: JsonObject): void {
    const greeting = readGreeting(message);
    if (greeting === undefined) this.#refuse("a greeting without a version");
    else this.#greeted?.(greeting);
    this.#greeted = undefined;
  }

  #deliver(message: JsonObject, name: string): void {
    const event: QmpAnyEvent = readEvent(message, name);
    for (const stream of this.#streams) if (isEvent<Events>(event)) stream.push(event);
  }

  #settle(message: JsonObject): void {
    const id = message["id"];
    // Ours are strings. An error without one means that the server could not read a request: it concerns the oldest.
    const key =
      typeof id === "string" ? id : id === undefined ? this.#pending.keys().next().value : undefined;
    const pending = key === undefined ? undefined : this.#pending.get(key);
    if (key === undefined || !("return" in message || "error" in message)) {
      this.#refuse("a message that is neither an event nor an answer");
      return;
    }
    if (pending === undefined) return; // nobody waits for it any more
    this.#pending.delete(key);
    if ("error" in message) pending.reject(toCommandError(message["error"], pending.command, this.#name));
    else pending.resolve(message["return"] ?? null);
  }

  #refuse(what: string): void {
    this.#fail(new QmpError("QMP_NOT_QMP", `${this.#name}: the peer sent ${what}; it does not speak QMP`));
  }

  /** Ends everything. The first reason stays, and is returned. */
  #fail(reason: Error): QmpError {
    this.#end ??=
      reason instanceof QmpError ? reason : new QmpError("QMP_CLOSED", reason.message, { cause: reason });
    this.#greeted?.(this.#end);
    this.#greeted = undefined;
    for (const { reject } of this.#pending.values()) reject(this.#end);
    this.#pending.clear();
    for (const stream of this.#streams) stream.end(this.#end);
    this.#stream.destroy();
    return this.#end;
  }
}

/** Events that the types do not know are delivered all the same: the type says what may be relied on. */
function isEvent<Events>(event: QmpAnyEvent): event is QmpAnyEvent & QmpEventOf<Events> {
  return typeof event.event === "string";
}

function toError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}

function toCommandError(error: JsonValue | undefined, command: string, name: string): QmpError {
  const details = isJsonObject(error) ? error : {};
  const description = typeof details["desc"] === "string" ? details["desc"] : "no description";
  return new QmpError("QMP_COMMAND_FAILED", `${name}: ${command}: ${description}`, {
    command,
    errorClass: toErrorClass(details["class"]),
  });
}

async function openStream(address: QmpAddress, signal: AbortSignal | undefined): Promise<Duplex> {
  signal?.throwIfAborted();
  const socket = "path" in address ? connectSocket(address.path) : connectSocket(address.port, address.host);
  const abort = (): void => void socket.destroy();
  signal?.addEventListener("abort", abort, { once: true });
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
      socket.once("close", () => reject(new Error("the connection was not made")));
    });
    return socket;
  } catch (cause) {
    signal?.throwIfAborted();
    throw new QmpError("QMP_CONNECT", `${formatQmpAddress(address)}: ${whyNotConnected(cause)}`, { cause });
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

const CONNECT_REMEDIES: ReadonlyMap<unknown, string> = new Map([
  ["ENOENT", "there is no such socket; check the path, and whether the server runs"],
  ["ECONNREFUSED", "nobody listens there; start the server, or correct the address"],
  ["EACCES", "no permission to connect; become the user of the server"],
  ["ENOTSOCK", "is no socket; name the monitor's"],
]);

function whyNotConnected(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  const remedy = "code" in cause ? CONNECT_REMEDIES.get(cause.code) : undefined;
  return remedy ?? cause.message;
}
