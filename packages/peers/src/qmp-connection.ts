import type { Socket } from "node:net";

import { PeerError } from "./error.ts";

/** Members of a JSON object as QMP sends it. */
export type QmpObject = Readonly<Record<string, unknown>>;

/** An event as it came, with the peer's own clock. */
export interface QmpEvent {
  readonly event: string;
  readonly data: QmpObject;
  readonly timestamp: { readonly seconds: number; readonly microseconds: number };
}

/** Which event {@link QmpConnection.waitForEvent} waits for. */
export interface EventFilter {
  /** Members the event's data must have, compared with `===`. */
  readonly match?: QmpObject;
  /** Default 30 000. */
  readonly timeoutMs?: number;
}

interface Waiter {
  readonly accepts: (event: QmpEvent) => boolean;
  readonly resolve: (event: QmpEvent) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

interface PendingReply {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

const DEFAULT_EVENT_TIMEOUT_MS = 30_000;

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `value` when it is a JSON object, else an empty one. */
export function objectOrEmpty(value: unknown): QmpObject {
  return isObject(value) ? value : {};
}

function parseMessage(line: string): QmpObject | undefined {
  try {
    const message: unknown = JSON.parse(line);
    return isObject(message) ? message : undefined;
  } catch {
    return undefined;
  }
}

function toEvent(message: QmpObject): QmpEvent {
  const { seconds, microseconds } = objectOrEmpty(message["timestamp"]);
  return {
    event: String(message["event"]),
    data: objectOrEmpty(message["data"]),
    timestamp: { seconds: Number(seconds), microseconds: Number(microseconds) },
  };
}

/**
 * A QMP client just large enough to drive a peer: one message per line, as qemu-storage-daemon sends it without
 * `pretty=on`. Events that nobody waited for stay queued, so an event cannot be missed between two calls.
 */
export class QmpConnection {
  readonly #socket: Socket;
  readonly #pending = new Map<number, PendingReply>();
  readonly #events: QmpEvent[] = [];
  readonly #waiters = new Set<Waiter>();
  #partialLine = "";
  #nextId = 1;
  #closed: Error | undefined;

  private constructor(socket: Socket, greeted: () => void) {
    this.#socket = socket;
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => this.#receive(text, greeted));
    socket.on("error", (cause) => this.fail(new PeerError("PEER_GONE", `QMP: ${cause.message}`, { cause })));
    socket.on("close", () => this.fail(new PeerError("PEER_GONE", "QMP: the peer closed the connection")));
  }

  /** Waits for the greeting on a connected socket and negotiates capabilities. Takes over the socket. */
  static async open(socket: Socket): Promise<QmpConnection> {
    const connection = await new Promise<QmpConnection>((resolve, reject) => {
      const opening = new QmpConnection(socket, () => resolve(opening));
      socket.once("close", () => reject(new PeerError("PEER_GONE", "QMP: closed before the greeting")));
    });
    await connection.execute("qmp_capabilities");
    return connection;
  }

  /** Events received and not yet taken by {@link waitForEvent}, oldest first. */
  get queuedEvents(): readonly QmpEvent[] {
    return this.#events;
  }

  /**
   * Runs a command and gives its return value.
   *
   * @throws {@link PeerError} `QMP_ERROR` when it is refused, `PEER_GONE` when the connection ends first.
   */
  execute(command: string, args?: QmpObject): Promise<unknown> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { command, resolve, reject });
      const message =
        args === undefined ? { execute: command, id } : { execute: command, arguments: args, id };
      this.#socket.write(`${JSON.stringify(message)}\r\n`);
    });
  }

  /**
   * Takes the first event, queued or still to come, whose name is one of `names` and whose data match.
   *
   * @throws {@link PeerError} `PEER_TIMEOUT`, listing what came instead; `PEER_GONE` when the connection ends.
   */
  waitForEvent(names: string | readonly string[], filter: EventFilter = {}): Promise<QmpEvent> {
    const wanted = typeof names === "string" ? [names] : names;
    const members = Object.entries(filter.match ?? {});
    const accepts = (event: QmpEvent): boolean =>
      wanted.includes(event.event) && members.every(([name, value]) => event.data[name] === value);

    const queued = this.#events.findIndex((event) => accepts(event));
    const [found] = queued < 0 ? [] : this.#events.splice(queued, 1);
    if (found !== undefined) return Promise.resolve(found);
    if (this.#closed !== undefined) return Promise.reject(this.#closed);

    const timeoutMs = filter.timeoutMs ?? DEFAULT_EVENT_TIMEOUT_MS;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter);
        const seen = this.#events.map((event) => event.event).join(", ") || "nothing";
        const message = `QMP: no ${wanted.join(" or ")} ${JSON.stringify(filter.match ?? {})} within ${timeoutMs} ms; queued: ${seen}`;
        reject(new PeerError("PEER_TIMEOUT", message));
      }, timeoutMs);
      const waiter: Waiter = { accepts, resolve, reject, timer };
      this.#waiters.add(waiter);
    });
  }

  /** Ends everything that still waits with `reason`; later calls reject with it too. The first reason stays. */
  fail(reason: Error): void {
    this.#closed ??= reason;
    this.#socket.destroy();
    for (const pending of this.#pending.values()) pending.reject(this.#closed);
    this.#pending.clear();
    for (const waiter of this.#waiters) {
      clearTimeout(waiter.timer);
      waiter.reject(this.#closed);
    }
    this.#waiters.clear();
  }

  #receive(text: string, greeted: () => void): void {
    const lines = (this.#partialLine + text).split("\n");
    this.#partialLine = lines.pop() ?? "";
    for (const line of lines) {
      if (line.trim() === "") continue;
      const message = parseMessage(line);
      if (message === undefined) {
        this.fail(
          new PeerError("PEER_GONE", `QMP: the peer sent something else than a JSON object: ${line}`),
        );
        return;
      }
      if ("QMP" in message) greeted();
      else if ("event" in message) this.#deliver(toEvent(message));
      else this.#settle(message);
    }
  }

  #deliver(event: QmpEvent): void {
    for (const waiter of this.#waiters) {
      if (!waiter.accepts(event)) continue;
      this.#waiters.delete(waiter);
      clearTimeout(waiter.timer);
      waiter.resolve(event);
      return;
    }
    this.#events.push(event);
  }

  #settle(reply: QmpObject): void {
    const id = Number(reply["id"]);
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    this.#pending.delete(id);
    if (!("error" in reply)) {
      pending.resolve(reply["return"]);
      return;
    }
    const { class: qmpClass, desc } = objectOrEmpty(reply["error"]);
    const message = `QMP: ${pending.command}: ${String(desc)}`;
    pending.reject(new PeerError("QMP_ERROR", message, { qmpClass: String(qmpClass) }));
  }
}
