import net from "node:net";
import type tls from "node:tls";
import type { IoVec } from "@blockmirror/block-driver";
import { nodeTls } from "../protocol/node-tls.ts";
import type { NbdAddress } from "../protocol/address.ts";

/**
 * Takes a stream of bytes without a copy where that is possible: the wire asks where the next bytes go before they
 * arrive.
 */
export interface ByteSink {
  /** Memory for the next bytes; at least one byte. */
  target(): Uint8Array;
  /** That many bytes were put at the start of the last `target`. May throw: the wire is then lost with that error. */
  received(count: number): void;
}

/** How to dial. */
export interface WireInit {
  readonly address: NbdAddress;
  /** Gets every byte; see {@link Wire.sink} to change it. */
  readonly sink: ByteSink;
  /** Called once, when the wire is no more: with the error that ended it, or with undefined when the peer hung up. */
  readonly onLost: (error: Error | undefined) => void;
  /** The socket will be upgraded with {@link Wire.secure}. */
  readonly willSecure: boolean;
  readonly signal: AbortSignal;
}

/**
 * One socket to a server. Without TLS the kernel writes received bytes straight to where the sink wants them, and takes
 * sent bytes straight from the caller's buffers; TLS copies both, as it has to.
 *
 * Node offers no way to set the size of the kernel's socket buffers; several connections are the way to more of them.
 */
export class Wire {
  /** Where received bytes go. */
  sink: ByteSink;
  readonly #onLost: (error: Error | undefined) => void;
  #socket: net.Socket;
  #error: Error | undefined;
  #lost = false;
  #corked = false;
  /** Memory that the socket fills next, and the sink it belongs to. */
  #target: Uint8Array = new Uint8Array(0);
  #targetOf: ByteSink | undefined;

  private constructor(socket: (wire: Wire) => net.Socket, init: WireInit) {
    this.sink = init.sink;
    this.#onLost = init.onLost;
    this.#socket = socket(this);
  }

  /**
   * Connects.
   * @throws Error of the system when that fails, or the signal's reason.
   */
  static async dial(init: WireInit): Promise<Wire> {
    const { address, willSecure, signal } = init;
    signal.throwIfAborted();
    const wire = new Wire((self) => {
      // TLS must find the socket untouched, so a socket that will be upgraded is read in the ordinary way.
      if (willSecure) return net.connect({ ...address });
      return net.connect({
        ...address,
        onread: {
          buffer: () => self.#nextTarget(),
          callback: (count) => {
            self.#arrived(count);
            return true;
          },
        },
      });
    }, init);
    const socket = wire.#socket;
    await new Promise<void>((resolve, reject) => {
      const abort = (): void => {
        socket.destroy();
        reject(reason(signal));
      };
      signal.addEventListener("abort", abort, { once: true });
      const settled = (): void => signal.removeEventListener("abort", abort);
      socket.once("error", (error) => {
        settled();
        reject(error);
      });
      socket.once("connect", () => {
        settled();
        resolve();
      });
    });
    socket.removeAllListeners("error");
    if (!("path" in address)) socket.setNoDelay(true);
    wire.#watch(socket);
    if (willSecure) socket.on("data", wire.#copy);
    // A stream at rest would keep the end of the connection to itself.
    else socket.resume();
    return wire;
  }

  /**
   * Starts TLS on the socket. The peer must have agreed to it, and nothing may have arrived after its word.
   * @throws Error of the TLS layer, e.g. when the peer's certificate is not acceptable.
   */
  async secure(options: tls.ConnectionOptions, signal: AbortSignal): Promise<void> {
    const plain = this.#socket;
    plain.off("data", this.#copy);
    plain.removeAllListeners("error");
    plain.removeAllListeners("close");
    const secured = nodeTls().connect({ ...options, socket: plain });
    this.#socket = secured;
    plain.on("error", (error) => secured.destroy(error));
    await new Promise<void>((resolve, reject) => {
      const fail = (error: Error): void => {
        signal.removeEventListener("abort", abort);
        // Whatever else goes wrong with a socket that is given up already.
        secured.on("error", () => {});
        plain.destroy();
        reject(error);
      };
      const abort = (): void => {
        secured.destroy();
        fail(reason(signal));
      };
      signal.addEventListener("abort", abort, { once: true });
      secured.once("error", fail);
      secured.once("close", () => fail(new Error("the server hung up while TLS was being set up")));
      secured.once("secureConnect", () => {
        signal.removeEventListener("abort", abort);
        resolve();
      });
    });
    secured.removeAllListeners("error");
    secured.removeAllListeners("close");
    this.#watch(secured);
    secured.on("data", this.#copy);
  }

  /**
   * Queues `header` and then `payload`. Neither may change until `taken` was called, or the wire was lost: the socket
   * sends from them as the peer reads.
   */
  send(header: Uint8Array, payload: IoVec | undefined, taken?: () => void): void {
    const socket = this.#socket;
    if (!this.#corked) {
      // What is sent in one turn leaves in one system call.
      this.#corked = true;
      socket.cork();
      process.nextTick(this.#uncork);
    }
    const last = payload?.findLastIndex((piece) => piece.byteLength > 0) ?? -1;
    if (payload === undefined || last < 0) {
      socket.write(header, taken);
      return;
    }
    socket.write(header);
    for (let index = 0; index < last; index += 1) {
      const piece = payload[index];
      if (piece !== undefined && piece.byteLength > 0) socket.write(piece);
    }
    socket.write(payload[last] ?? header, taken);
  }

  /** Says goodbye: everything queued is still sent, then the sending side is closed. */
  end(): void {
    this.#socket.end();
  }

  /** Drops the socket at once. Nothing is read or sent afterwards, so all buffers are free again. */
  destroy(error?: Error): void {
    this.#error ??= error;
    this.#socket.destroy();
  }

  readonly #uncork = (): void => {
    this.#corked = false;
    this.#socket.uncork();
  };

  /** Remembers whose memory the socket was given: by the time bytes arrive, the sink may be another. */
  #nextTarget(): Uint8Array {
    this.#targetOf = this.sink;
    this.#target = this.sink.target();
    return this.#target;
  }

  #arrived(count: number): void {
    try {
      if (this.#targetOf === this.sink) this.sink.received(count);
      else this.feed(this.#target.subarray(0, count));
    } catch (error) {
      this.#broken(error);
    }
  }

  readonly #copy = (chunk: Buffer): void => {
    try {
      this.feed(chunk);
    } catch (error) {
      this.#broken(error);
    }
  };

  /** Hands bytes to the sink as if they had just arrived; throws what the sink throws. */
  feed(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.byteLength && !this.#socket.destroyed;) {
      const target = this.sink.target();
      const take = Math.min(target.byteLength, bytes.byteLength - done);
      target.set(bytes.subarray(done, done + take));
      this.sink.received(take);
      done += take;
    }
  }

  #broken(error: unknown): void {
    this.destroy(error instanceof Error ? error : new Error(String(error)));
    // At once, so that nothing more is sent into a dead socket.
    this.#reportLoss();
  }

  #reportLoss(): void {
    if (this.#lost) return;
    this.#lost = true;
    this.#onLost(this.#error);
  }

  #watch(socket: net.Socket): void {
    socket.on("error", (error) => (this.#error ??= error));
    socket.on("close", () => this.#reportLoss());
  }
}

function reason(signal: AbortSignal): Error {
  return signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason));
}
