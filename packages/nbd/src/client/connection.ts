import type { ConnectionOptions } from "node:tls";
import { Command, CommandFlag, EXTENDED_REQUEST_MAGIC, REQUEST_MAGIC } from "../protocol/constants.ts";
import type { NbdAddress } from "../protocol/address.ts";
import { ExtentReader } from "./extent-reader.ts";
import { negotiate } from "./handshake.ts";
import { HandshakeReader } from "./handshake-reader.ts";
import type { NegotiatedExport } from "./negotiated.ts";
import { ProtocolError } from "./protocol-error.ts";
import { ReplyReader, type ReplyOwner } from "./reply-reader.ts";
import type { Request } from "./request.ts";
import { Slot } from "./slot.ts";
import type { NbdTimers } from "./timers.ts";
import { Wire } from "./wire.ts";

/** Requests in flight on one connection; servers take at least 16 at a time and leave the rest in the socket. */
const MAX_IN_FLIGHT = 64;

/** A read of this many bytes is bulk: its data should arrive in the caller's buffer and not in the stage. */
const BULK_READ = 32 * 1024;

/** Which export to reach, and how. */
export interface Endpoint {
  readonly address: NbdAddress;
  readonly exportName: string;
  /** Names of the metadata contexts that are asked for. */
  readonly contexts: readonly string[];
  /** Makes the TLS options of a new connection; absent for a connection without TLS. */
  readonly tls: (() => ConnectionOptions) | undefined;
}

/** The server's answer when it is not success. */
export interface Refusal {
  /** NBD error number. */
  readonly errorNumber: number;
  /** The server's text, or empty. */
  readonly text: string;
}

/** Who uses a connection. */
export interface ConnectionOwner {
  /** The server has answered `request`, and its buffers are free. */
  answered(request: Request, refusal: Refusal | undefined): void;
  /** The connection is gone; `unanswered` were sent, oldest first, and their buffers are free. */
  lost(connection: Connection, error: Error | undefined, unanswered: readonly Request[]): void;
}

/** A connection in the transmission phase. */
export class Connection implements ReplyOwner {
  readonly #wire: Wire;
  readonly #owner: ConnectionOwner;
  readonly #reader: ReplyReader;
  readonly #isChunked: boolean;
  readonly #isExtended: boolean;
  /** What was agreed. */
  readonly negotiated: NegotiatedExport;
  readonly #slots: Slot[] = [];
  readonly #free: Slot[] = [];
  readonly #taken: (() => void)[] = [];
  readonly #inFlight = new Set<Slot>();
  #payload = 0;
  #bulkReads = 0;
  #flushes = 0;
  #isLost = false;
  #onLost: (() => void) | undefined;
  /** The server has answered a request. */
  hasAnswered = false;
  /** Bytes have moved since this was last set to false. */
  progressed = false;
  /** When bytes last moved, as far as its owner knows; in milliseconds of its clock. */
  progressAt = 0;

  private constructor(wire: Wire, owner: ConnectionOwner, negotiated: NegotiatedExport) {
    this.#wire = wire;
    this.#owner = owner;
    this.negotiated = negotiated;
    this.#isChunked = negotiated.form !== "simple";
    this.#isExtended = negotiated.form === "extended";
    const { form, size, contextIds } = negotiated;
    this.#reader = new ReplyReader(this, form, new ExtentReader(form, size, contextIds));
  }

  /**
   * Connects and shakes hands.
   * @throws Error of the system, ProtocolError, ExportRefusedError, or the signal's reason.
   */
  static async open(endpoint: Endpoint, owner: ConnectionOwner, signal: AbortSignal): Promise<Connection> {
    const reader = new HandshakeReader();
    let connection: Connection | undefined;
    const wire = await Wire.dial({
      address: endpoint.address,
      sink: reader,
      willSecure: endpoint.tls !== undefined,
      signal,
      onLost: (error) => {
        reader.fail(error ?? new Error("the server hung up"));
        connection?.lose(error);
      },
    });
    const abort = (): void => {
      const reason: unknown = signal.reason;
      const error = reason instanceof Error ? reason : new Error(String(reason));
      reader.fail(error);
      wire.destroy(error);
    };
    signal.addEventListener("abort", abort, { once: true });
    try {
      const { tls } = endpoint;
      const negotiated = await negotiate({
        reader,
        send: (bytes) => wire.send(bytes, undefined),
        exportName: endpoint.exportName,
        contexts: endpoint.contexts,
        secure: tls === undefined ? undefined : () => wire.secure(tls(), signal),
      });
      connection = new Connection(wire, owner, negotiated);
      wire.sink = connection.#sink;
      // Nothing is in flight, so any byte that came early is a reply to nothing.
      if (reader.unread > 0) throw new ProtocolError("the server sent a reply before there was a request");
      return connection;
    } catch (error) {
      connection = undefined;
      wire.destroy();
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /** Requests in flight. */
  get inFlight(): number {
    return this.#inFlight.size;
  }

  /** Data bytes of the requests in flight. */
  get payload(): number {
    return this.#payload;
  }

  get isFull(): boolean {
    return this.#inFlight.size >= MAX_IN_FLIGHT;
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  /** A flush is in flight: the server may do nothing else until it is done. */
  get isFlushing(): boolean {
    return this.#flushes > 0;
  }

  get expectsBulk(): boolean {
    return this.#bulkReads > 0;
  }

  /** The requests in flight. */
  *requests(): Generator<Request> {
    for (const { request } of this.#inFlight) if (request !== undefined) yield request;
  }

  /** Sends a request; the connection must be neither lost nor full. */
  send(request: Request): void {
    const slot = this.#free.pop() ?? this.#newSlot();
    slot.occupy(request, this.#isChunked);
    this.#inFlight.add(slot);
    this.#count(request, 1);
    request.extents?.reset(request.offset + request.skip);
    this.#wire.send(
      this.#encode(slot, request),
      request.operation === "write" ? request.iov : undefined,
      this.#taken[slot.index],
    );
  }

  /** Whether the kernel may be writing into the buffers of `request` right now. */
  isReceiving(request: Request): boolean {
    return this.#reader.receiving?.request === request;
  }

  find(generation: number, index: number): Slot | undefined {
    const slot = this.#slots[index];
    return slot !== undefined &&
      slot.generation === generation &&
      slot.request !== undefined &&
      !slot.answered
      ? slot
      : undefined;
  }

  finished(slot: Slot): void {
    slot.answered = true;
    this.hasAnswered = true;
    // The socket may still be sending from the buffers of a request that was answered early, with an error.
    if (slot.taken) this.#settle(slot);
  }

  /** Ends the connection at once; its requests are handed back. */
  abandon(error: Error): void {
    this.#wire.destroy(error);
    this.lose(error);
  }

  /** Says goodbye and resolves when the server has hung up, or after `patienceMs`. */
  async close(timers: NbdTimers, patienceMs: number): Promise<void> {
    if (this.#isLost) return;
    const header = Buffer.alloc(this.#isExtended ? 32 : 28);
    this.#writeHeader(new DataView(header.buffer, header.byteOffset), Command.Disconnect, 0, 0, 0, 0, 0);
    this.#wire.send(header, undefined);
    this.#wire.end();
    await new Promise<void>((resolve) => {
      const callOff = timers.after(patienceMs, resolve);
      this.#onLost = () => {
        callOff();
        resolve();
      };
    });
    this.#wire.destroy();
  }

  lose(error: Error | undefined): void {
    if (this.#isLost) return;
    this.#isLost = true;
    const unanswered: Request[] = [];
    for (const slot of this.#inFlight) {
      if (slot.answered) this.#settle(slot);
      else if (slot.request !== undefined) unanswered.push(slot.request);
    }
    this.#inFlight.clear();
    this.#onLost?.();
    this.#owner.lost(this, error, unanswered);
  }

  /** Notes that bytes move; the reader does the rest. */
  readonly #sink = {
    target: (): Uint8Array => this.#reader.target(),
    received: (count: number): void => {
      this.progressed = true;
      this.#reader.received(count);
    },
  };

  #newSlot(): Slot {
    const slot = new Slot(this.#slots.length);
    this.#slots.push(slot);
    this.#taken.push(() => {
      this.progressed = true;
      slot.taken = true;
      if (slot.answered && !this.#isLost) this.#settle(slot);
    });
    return slot;
  }

  #settle(slot: Slot): void {
    const { request } = slot;
    if (request === undefined) return;
    slot.request = undefined;
    slot.coverage = undefined;
    this.#inFlight.delete(slot);
    this.#free.push(slot);
    this.#count(request, -1);
    const refusal =
      slot.errorNumber === 0 ? undefined : { errorNumber: slot.errorNumber, text: slot.errorText };
    this.#owner.answered(request, refusal);
  }

  #count(request: Request, step: 1 | -1): void {
    this.#payload += step * request.payload;
    if (request.operation === "read" && request.length >= BULK_READ) this.#bulkReads += step;
    if (request.operation === "flush") this.#flushes += step;
  }

  #encode(slot: Slot, request: Request): Uint8Array {
    const { view } = slot;
    const isWrite = request.operation === "write";
    const flags = this.#isExtended && isWrite ? request.flags | CommandFlag.PayloadLength : request.flags;
    this.#writeHeader(
      view,
      request.command,
      flags,
      slot.generation,
      slot.index,
      request.offset,
      request.length,
    );
    return this.#isExtended ? slot.header : slot.compactHeader;
  }

  #writeHeader(
    view: DataView,
    command: number,
    flags: number,
    generation: number,
    index: number,
    offset: number,
    length: number,
  ): void {
    view.setUint32(0, this.#isExtended ? EXTENDED_REQUEST_MAGIC : REQUEST_MAGIC);
    view.setUint16(4, flags);
    view.setUint16(6, command);
    view.setUint32(8, generation);
    view.setUint32(12, index);
    setUint64(view, 16, offset);
    if (this.#isExtended) setUint64(view, 24, length);
    else view.setUint32(24, length);
  }
}

/** A safe integer as 64 bits, without a BigInt. */
function setUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 2 ** 32));
  view.setUint32(at + 4, value >>> 0);
}
