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
  | { readonly kind: "client"; readonly address: ListenAddress };

/**
 * Where a monitor's clients come from. A server brings any number of them, one after the other or at once; the others
 * bring one.
 */
export class Chardev {
  readonly #options: ChardevOptions;
  #server: Server | undefined;
  #serve: ((stream: Duplex) => void) | undefined;
  #isClosed = false;

  constructor(options: ChardevOptions) {
    this.#options = options;
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
      serve(await dial(options.address));
    } else {
      this.#server = await listen(options.address, serve);
      if (this.#isClosed) this.close();
      else if (options.wait) await once(this.#server, "connection");
    }
  }

  /** No more clients; a Unix socket's file goes with it. Those that are there stay. */
  close(): void {
    this.#isClosed = true;
    this.#server?.close();
  }
}

async function dial(address: ListenAddress): Promise<Socket> {
  if ("fd" in address)
    return new Socket({ fd: address.fd, readable: true, writable: true, allowHalfOpen: true });
  const socket = connect({ ...address, allowHalfOpen: true });
  await once(socket, "connect");
  return socket;
}
