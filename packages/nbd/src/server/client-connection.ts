import type { Socket } from "node:net";
import { hangUp, LINGER_MS } from "./hang-up.ts";
import { Handshake, type Agreement, type HandshakeHost } from "./handshake.ts";
import type { NbdExport } from "./nbd-export.ts";
import type { SlabPool } from "./reply-arena.ts";
import { SocketReader } from "./socket-reader.ts";
import { RequestCounters, type TrafficStatistics } from "./statistics.ts";
import { secure, type NbdServerTls } from "./tls.ts";
import { Transmission, type ConnectionLimits } from "./transmission.ts";

/** A client, as a user interface shows it. */
export interface NbdClient {
  /** Unique among the clients of a server. */
  readonly id: number;
  /** Where it comes from: an address and port, or the path of the socket it came through. */
  readonly address: string;
  /** The export it uses; undefined while it is still choosing. */
  readonly exportName: string | undefined;
  /** Whether the connection is encrypted. */
  readonly isSecure: boolean;
  /** What it has done since it chose its export. */
  statistics(): TrafficStatistics;
}

/** What a connection has to know of its server. */
export interface ConnectionHost extends HandshakeHost {
  readonly credentials: NbdServerTls | undefined;
  readonly limits: ConnectionLimits;
  readonly pool: SlabPool;
  readonly handshakeTimeoutMs: number;
  /** The client has chosen an export; false when that is gone. */
  onChosen(connection: ClientConnection, exported: NbdExport): boolean;
  /** The connection is over, and nothing it began is in flight. */
  onEnd(connection: ClientConnection): void;
}

/** One connection, from its first byte to its last. Whatever a client does, it can only end its own connection. */
export class ClientConnection implements NbdClient {
  readonly id: number;
  readonly address: string;
  exportName: string | undefined;
  isSecure = false;
  readonly #host: ConnectionHost;
  #socket: Socket;
  #reader: SocketReader | undefined;
  #transmission: Transmission | undefined;
  #isStopping = false;

  constructor(id: number, socket: Socket, address: string, host: ConnectionHost) {
    this.id = id;
    this.address = address;
    this.#socket = socket;
    this.#host = host;
    // Whoever reads gets errors as well; this only keeps one that comes between two readers from ending the program.
    socket.on("error", () => socket.destroy());
  }

  /** Runs the connection. Never rejects. */
  async run(): Promise<void> {
    const plain = this.#socket;
    const deadline = setTimeout(() => plain.destroy(), this.#host.handshakeTimeoutMs);
    let agreement: Agreement | undefined;
    try {
      agreement = await this.#negotiate();
    } catch {
      // The client broke off, or broke the rules: either way there is nobody to tell.
    } finally {
      clearTimeout(deadline);
    }
    const received = this.#reader?.release();
    if (agreement === undefined || received === undefined || this.#isStopping) return this.#hangUp();
    this.exportName = agreement.exported.name;
    if (!this.#host.onChosen(this, agreement.exported)) {
      this.exportName = undefined;
      return this.#hangUp();
    }
    this.#transmission = new Transmission({
      socket: this.#socket,
      received,
      agreement,
      limits: this.#host.limits,
      pool: this.#host.pool,
      onEnd: () => this.#host.onEnd(this),
    });
    this.#transmission.start();
  }

  /** Whether it has no export: the client is still choosing, or has come to ask only. */
  get isUndecided(): boolean {
    return this.exportName === undefined;
  }

  statistics(): TrafficStatistics {
    return (this.#transmission?.counters ?? new RequestCounters()).snapshot();
  }

  /** Answers what is in flight, then hangs up. */
  stop(): void {
    this.#isStopping = true;
    if (this.#transmission === undefined) this.#socket.destroy();
    else this.#transmission.stop();
  }

  /** Hangs up at once. What is in flight still ends by itself. */
  destroy(): void {
    this.#isStopping = true;
    this.#socket.destroy();
  }

  async #negotiate(): Promise<Agreement | undefined> {
    const reader = new SocketReader(this.#socket);
    this.#reader = reader;
    let handshake = new Handshake(this.#socket, reader, this.#host, false);
    let outcome = await handshake.run();
    if (outcome.next === "tls" && this.#host.credentials !== undefined) {
      if (reader.release().length > 0) return undefined;
      const secured = await secure(this.#socket, this.#host.credentials);
      secured.on("error", () => secured.destroy());
      this.#socket = secured;
      this.isSecure = true;
      this.#reader = new SocketReader(secured);
      const before = handshake;
      handshake = new Handshake(secured, this.#reader, this.#host, true);
      handshake.inherit(before);
      outcome = await handshake.run();
    }
    return outcome.next === "transmission" ? outcome.agreement : undefined;
  }

  /** Lets what was said arrive, then hangs up. */
  #hangUp(): void {
    const socket = this.#socket;
    const end = (): void => {
      this.#host.onEnd(this);
    };
    if (socket.destroyed) {
      end();
      return;
    }
    socket.once("close", end);
    hangUp(socket, Math.min(LINGER_MS, this.#host.handshakeTimeoutMs));
  }
}
