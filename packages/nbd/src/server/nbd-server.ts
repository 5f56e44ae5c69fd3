import net, { type Socket } from "node:net";
import { BlockError, type BlockGraph } from "@blockmirror/block-driver";
import { DEFAULT_PORT } from "../protocol/constants.ts";
import type { NbdAddress } from "../protocol/address.ts";
import { formatNbdUri } from "../protocol/uri.ts";
import { ClientConnection, type ConnectionHost, type NbdClient } from "./client-connection.ts";
import { listenTcp, listenUnix, type Listener, type ListenOptions } from "./listener.ts";
import { NbdExport, type ExportInit } from "./nbd-export.ts";
import { SlabPool } from "./reply-arena.ts";
import { checkCredentials, type NbdServerTls } from "./tls.ts";

/** Options of an {@link NbdServer}. */
export interface NbdServerOptions {
  /** The graph whose nodes are exported. */
  readonly graph: BlockGraph;
  /** Makes TLS possible, and by default demanded. */
  readonly tls?: NbdServerTls;
  /**
   * Connections at a time. Beyond it the one that has been longest without choosing an export is dropped; when all have
   * one, the newcomer is refused. Default 256.
   */
  readonly maxConnections?: number;
  /** Time in milliseconds that a client has to choose an export. Default 10000. */
  readonly handshakeTimeoutMs?: number;
  /** Requests of one connection that may be in flight. Default 256, at least 1. */
  readonly maxRequests?: number;
  /** Bytes of payloads and replies of one connection that may be in memory. Default 32 MiB; one request is always taken. */
  readonly maxBytes?: number;
}

/** What happens at a server, for a user interface. */
export type NbdServerEvent =
  | { readonly type: "client-connected"; readonly client: NbdClient; readonly exportName: string }
  | { readonly type: "client-disconnected"; readonly client: NbdClient; readonly exportName: string }
  | { readonly type: "export-added"; readonly exportName: string }
  | { readonly type: "export-removed"; readonly exportName: string };

/** How an export is removed: `safe` only when no client uses it, `hard` hangs up on those who do. */
export type RemovalMode = "safe" | "hard";

/**
 * An NBD server: clients reach nodes of a block graph through Unix or TCP sockets. It speaks the fixed newstyle handshake with
 * simple, structured and extended replies, block status, and TLS.
 *
 * It does nothing until {@link listen}. Close it before the graph.
 */
export class NbdServer {
  readonly #graph: BlockGraph;
  readonly #host: ConnectionHost;
  readonly #maxConnections: number;
  readonly #exports = new Map<string, NbdExport>();
  readonly #connections = new Set<ClientConnection>();
  readonly #listeners: Listener[] = [];
  readonly #subscribers = new Set<(event: NbdServerEvent) => void>();
  readonly #waiters = new Set<() => void>();
  #lastId = 0;
  #closing: Promise<void> | undefined;

  /** @throws TypeError or RangeError for bad options; an Error of OpenSSL for bad TLS credentials. */
  constructor(options: NbdServerOptions) {
    const { graph, tls, maxConnections = 256, handshakeTimeoutMs = 10_000 } = options;
    const { maxRequests = 256, maxBytes = 32 * 1024 * 1024 } = options;
    for (const [name, value] of Object.entries({
      maxConnections,
      handshakeTimeoutMs,
      maxRequests,
      maxBytes,
    })) {
      if (!Number.isSafeInteger(value) || value < 1) {
        throw new RangeError(`${name} must be a positive integer, not ${value}`);
      }
    }
    if (tls !== undefined) checkCredentials(tls);
    this.#graph = graph;
    this.#maxConnections = maxConnections;
    this.#host = {
      exports: () => [...this.#exports.values()],
      tls: tls === undefined ? "none" : tls.required === false ? "optional" : "required",
      credentials: tls,
      limits: { requests: maxRequests, bytes: maxBytes },
      pool: new SlabPool(),
      handshakeTimeoutMs,
      onChosen: (connection, exported) => this.#onChosen(connection, exported),
      onEnd: (connection) => this.#onEnd(connection),
    };
  }

  /**
   * Listens, beside where it listens already.
   * @returns the address, with the port that was taken.
   * @throws BlockError `EBUSY` when somebody listens there, `EEXIST` when a file is in the way, `EACCES` and others of the system.
   */
  async listen(options: ListenOptions): Promise<NbdAddress> {
    this.#mustBeOpen();
    const where = "path" in options ? options.path : undefined;
    const server = net.createServer({ allowHalfOpen: true, noDelay: true, keepAlive: true });
    server.on("connection", (socket) => this.#accept(socket, where));
    const listener =
      "path" in options
        ? await listenUnix(server, options.path, options.mode ?? 0o600)
        : await listenTcp(server, options.host ?? "localhost", options.port ?? DEFAULT_PORT);
    // A failing accept (no descriptors left) is the system's trouble, not the end of those who are connected.
    server.on("error", () => {});
    if (this.#closing !== undefined) {
      await listener.close();
      this.#mustBeOpen();
    }
    this.#listeners.push(listener);
    return listener.address;
  }

  /** Where it listens. */
  get addresses(): readonly NbdAddress[] {
    return this.#listeners.map(({ address }) => address);
  }

  /** The URIs that clients reach an export by, one for each address. */
  uris(exportName: string): readonly string[] {
    const tls = this.#host.tls === "required";
    return this.addresses.map((address) => formatNbdUri({ address, exportName, tls }));
  }

  /**
   * Exports a node. Clients can use it as soon as this returns.
   * @throws BlockError `EEXIST` when the name is taken, `EINVAL`, `EROFS`, or `EBUSY` naming who excludes the export.
   */
  addExport(init: ExportInit): NbdExport {
    this.#mustBeOpen();
    if (this.#exports.has(init.name)) {
      throw new BlockError("EEXIST", `there is an export '${init.name}' already; choose another name`);
    }
    const exported = new NbdExport(this.#graph, init);
    this.#exports.set(init.name, exported);
    this.#tell({ type: "export-added", exportName: init.name });
    return exported;
  }

  /**
   * Removes an export. Resolves when its node is free: nothing is in flight through the export any more.
   * @throws BlockError `ENOENT` when there is none of that name, `EBUSY` when it is in use and `mode` is `safe`.
   */
  async removeExport(name: string, mode: RemovalMode = "safe"): Promise<void> {
    const exported = this.#exports.get(name);
    if (exported === undefined) throw new BlockError("ENOENT", `there is no export '${name}'`);
    const users = [...this.#connections].filter((connection) => connection.exportName === name);
    if (mode === "safe" && users.length > 0) {
      throw new BlockError(
        "EBUSY",
        `export '${name}' is in use by ${users.length} client(s); disconnect them, or remove it with mode 'hard'`,
      );
    }
    this.#exports.delete(name);
    const endExpediting = exported.expedite();
    try {
      for (const connection of users) connection.destroy();
      await this.#gone(users);
      await exported.detach();
    } finally {
      endExpediting();
    }
    this.#tell({ type: "export-removed", exportName: name });
  }

  /** The exports, in the order they were added. */
  exports(): readonly NbdExport[] {
    return [...this.#exports.values()];
  }

  /** The clients that have chosen an export, in the order they came. */
  clients(): readonly NbdClient[] {
    return [...this.#connections].filter((connection) => connection.exportName !== undefined);
  }

  /** Connections, including those that have not chosen an export yet. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Has `listener` called at every event, until the function returned is called. It must not throw. */
  subscribe(listener: (event: NbdServerEvent) => void): () => void {
    this.#subscribers.add(listener);
    return () => this.#subscribers.delete(listener);
  }

  /**
   * Stops: takes no more connections, refuses new requests, answers those in flight, hangs up and lets go of every node.
   * Clients that do not take their answers within `graceMs` are dropped; default 10000. Idempotent.
   */
  close(options: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.graceMs ?? 10_000);
    return this.#closing;
  }

  /** The same as {@link close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(graceMs: number): Promise<void> {
    const expedited = this.exports().map((exported) => exported.expedite());
    try {
      await this.#hangUp(graceMs);
      for (const name of this.#exports.keys()) await this.removeExport(name, "hard");
    } finally {
      for (const end of expedited) end();
    }
  }

  /** Takes no more connections, and ends those that there are. */
  async #hangUp(graceMs: number): Promise<void> {
    await Promise.all(this.#listeners.map((listener) => listener.close()));
    // What has arrived and was not read yet is in flight for its clients. An immediate may come before the sockets are looked
    // at; the second one comes after.
    for (let turn = 0; turn < 2; turn += 1) await new Promise(setImmediate);
    const connections = [...this.#connections];
    for (const connection of connections) connection.stop();
    const deadline = setTimeout(() => {
      for (const connection of connections) connection.destroy();
    }, graceMs);
    await this.#gone(connections);
    clearTimeout(deadline);
  }

  #accept(socket: Socket, path: string | undefined): void {
    const isFull = this.#connections.size >= this.#maxConnections;
    if (this.#closing !== undefined || (isFull && !this.#dropOldestUndecided())) {
      socket.destroy();
      return;
    }
    const address = path ?? `${socket.remoteAddress ?? "?"}:${socket.remotePort ?? "?"}`;
    this.#lastId += 1;
    const connection = new ClientConnection(this.#lastId, socket, address, this.#host);
    this.#connections.add(connection);
    void connection.run();
  }

  /**
   * Makes room: drops the connection that has been longest without an export, so that many that say nothing cannot keep
   * others out until their time is over. Whoever has an export is never dropped. @returns whether there was one.
   */
  #dropOldestUndecided(): boolean {
    for (const connection of this.#connections) {
      if (!connection.isUndecided) continue;
      connection.destroy();
      // Nothing of it is in flight, so nobody has to wait until its socket is closed.
      this.#onEnd(connection);
      return true;
    }
    return false;
  }

  #onChosen(connection: ClientConnection, exported: NbdExport): boolean {
    if (this.#exports.get(exported.name) !== exported) return false;
    this.#tell({ type: "client-connected", client: connection, exportName: exported.name });
    return true;
  }

  #onEnd(connection: ClientConnection): void {
    if (!this.#connections.delete(connection)) return;
    const { exportName } = connection;
    if (exportName !== undefined) this.#tell({ type: "client-disconnected", client: connection, exportName });
    for (const wake of this.#waiters) wake();
    this.#waiters.clear();
  }

  async #gone(connections: readonly ClientConnection[]): Promise<void> {
    while (connections.some((connection) => this.#connections.has(connection))) {
      await new Promise<void>((resolve) => this.#waiters.add(resolve));
    }
  }

  #tell(event: NbdServerEvent): void {
    for (const subscriber of this.#subscribers) subscriber(event);
  }

  #mustBeOpen(): void {
    if (this.#closing !== undefined) throw new BlockError("ESHUTDOWN", "the NBD server is closed");
  }
}
