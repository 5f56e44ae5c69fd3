import type { Duplex } from "node:stream";
import { ByteQueue } from "./byte-queue.ts";

/** The other side closed the connection, or it broke, before the bytes that were awaited had arrived. */
export class ConnectionEndedError extends Error {
  override readonly name: string = "ConnectionEndedError";
  /** Bytes of the unfinished message that had arrived. */
  readonly received: number;

  constructor(received: number, cause?: unknown) {
    const why = cause instanceof Error ? ` (${cause.message})` : "";
    super(`the connection ended${why}`, cause === undefined ? undefined : { cause });
    this.received = received;
  }
}

interface Want {
  readonly length: number;
  readonly resolve: (bytes: Buffer) => void;
  readonly reject: (error: ConnectionEndedError) => void;
}

/**
 * Exact reads from a socket, for the handshake: one message at a time, whatever packets it comes in. The socket is paused
 * while nobody waits, so that a peer who sends without being asked fills its own buffers and not ours.
 */
export class SocketReader {
  readonly #socket: Duplex;
  readonly #queue = new ByteQueue();
  #want: Want | undefined;
  #ended: ConnectionEndedError | undefined;

  constructor(socket: Duplex) {
    this.#socket = socket;
    socket.on("data", this.#onData);
    socket.on("end", this.#onEnd);
    socket.on("close", this.#onEnd);
    socket.on("error", this.#onError);
    socket.pause();
  }

  /**
   * Settles with exactly `length` bytes. One read at a time.
   * @throws ConnectionEndedError when the connection ends before.
   */
  async read(length: number): Promise<Buffer> {
    if (this.#want !== undefined) throw new TypeError("SocketReader: one read at a time");
    if (this.#queue.length >= length) return this.#queue.take(length);
    if (this.#ended !== undefined) throw new ConnectionEndedError(this.#queue.length, this.#ended.cause);
    return new Promise((resolve, reject) => {
      this.#want = { length, resolve, reject };
      this.#socket.resume();
    });
  }

  /** Bytes that arrived and were not asked for yet. */
  get buffered(): number {
    return this.#queue.length;
  }

  /**
   * Stops listening and leaves the socket paused. What had arrived already is in the queue returned, for whoever reads
   * from here on; errors of the socket are theirs as well.
   */
  release(): ByteQueue {
    this.#socket.pause();
    this.#socket.off("data", this.#onData);
    this.#socket.off("end", this.#onEnd);
    this.#socket.off("close", this.#onEnd);
    this.#socket.off("error", this.#onError);
    return this.#queue;
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#queue.push(chunk);
    const want = this.#want;
    if (want !== undefined && this.#queue.length >= want.length) {
      this.#want = undefined;
      this.#socket.pause();
      want.resolve(this.#queue.take(want.length));
    }
  };

  readonly #onEnd = (): void => {
    this.#end(new ConnectionEndedError(this.#queue.length));
  };

  readonly #onError = (error: Error): void => {
    this.#end(new ConnectionEndedError(this.#queue.length, error));
  };

  #end(error: ConnectionEndedError): void {
    this.#ended ??= error;
    const want = this.#want;
    this.#want = undefined;
    want?.reject(this.#ended);
  }
}
