import { once } from "node:events";
import { connect, type Server, Socket } from "node:net";
import { Duplex } from "node:stream";
import { listen, type ListenAddress } from "./listen.ts";

/** A character device as `--chardev` describes it, checked. */
export type ChardevOptions =
  | { readonly kind: "stdio" }
  | {
      readonly kind: "server";
      readonly address: ListenAddress;
      /** Hold everything up until the first client has connected. */
      readonly wait: boolean;
    }
  | {
      readonly kind: "client";
      readonly address: ListenAddress;
      /** How long after a failure, or the end of a connection, it is made again. Without, that is its end. */
      readonly reconnectMs?: number;
    };

/**
 * Where a monitor's clients come from. A server brings any number of them, one after the other or at once; one that
 * connects brings the next when the last is gone, if it reconnects; the others bring one.
 */
export class Chardev {
  readonly #options: ChardevOptions;
  #server: Server | undefined;
  #serve: ((stream: Duplex) => void) | undefined;
  readonly #closing = new AbortController();
  readonly #onUnreachable: (error: unknown) => void;

  /** @param onUnreachable told, for one that reconnects, why it could not; once until it can. */
  constructor(options: ChardevOptions, onUnreachable: (error: unknown) => void) {
    this.#options = options;
    this.#onUnreachable = onUnreachable;
  }

  /** Whether a monitor uses it already. */
  get isTaken(): boolean {
    return this.#serve !== undefined;
  }

  /** Begins to bring clients. @throws Error naming the address when it cannot be reached or listened at. */
  async open(serve: (stream: Duplex) => void): Promise<void> {
    this.#serve = serve;
    const options = this.#options;
    if (options.kind === "stdio") {
      serve(Duplex.from({ readable: process.stdin, writable: process.stdout }));
    } else if (options.kind === "client") {
      const { address, reconnectMs } = options;
      if (reconnectMs === undefined) serve(await dial(address));
      else void this.#keepConnected(address, reconnectMs, serve);
    } else {
      this.#server = await listen(options.address, serve);
      if (this.#closing.signal.aborted) this.close();
      else if (options.wait) await once(this.#server, "connection");
    }
  }

  /** No more clients; a Unix socket's file goes with it. Those that are there stay. */
  close(): void {
    this.#closing.abort();
    this.#server?.close();
  }

  /** Goes on until it is closed; never rejects. */
  async #keepConnected(
    address: ListenAddress,
    reconnectMs: number,
    serve: (stream: Duplex) => void,
  ): Promise<void> {
    // Not with the others: most daemons listen.
    const { setTimeout: sleep } = await import("node:timers/promises");
    const { signal } = this.#closing;
    let isKnown = false;
    while (!signal.aborted) {
      try {
        const socket = await dial(address);
        isKnown = false;
        if (signal.aborted) return void socket.destroy();
        // However it is lost, that is no failure to connect.
        const closed = new Promise((resolve) => socket.once("close", resolve));
        serve(socket);
        await closed;
      } catch (error) {
        if (!isKnown) this.#onUnreachable(error);
        isKnown = true;
      }
      await sleep(reconnectMs, undefined, { signal }).catch(() => undefined);
    }
  }
}

async function dial(address: ListenAddress): Promise<Socket> {
  if ("fd" in address)
    return new Socket({ fd: address.fd, readable: true, writable: true, allowHalfOpen: true });
  const socket = connect({ ...address, allowHalfOpen: true });
  await once(socket, "connect");
  return socket;
}
