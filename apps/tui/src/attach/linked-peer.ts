import { parseQmpAddress, QmpLink, type QmpLinkState } from "@blockmirror/qmp";
import type { EndpointInfo } from "../job-source/job-source.ts";
import type { PeerEvent, QmpPeer } from "./qmp-peer.ts";

/** A monitor that has not answered by then is not going to be waited for: what is shown grows old instead. */
const ANSWER_TIMEOUT_MS = 10_000;
/** A greeting comes at once, or another client has the monitor. */
const GREETING_TIMEOUT_MS = 1500;
/** The longest wait before a lost peer is tried again. */
const RETRY_MS = 5000;

/** A {@link QmpPeer} at an address: a socket's path, or `HOST:PORT`. It connects again for as long as it is open. */
export class LinkedPeer implements QmpPeer {
  readonly address: string;
  readonly #link: QmpLink;
  readonly #watching: Promise<void>;
  readonly #eventListeners = new Set<(event: PeerEvent) => void>();
  readonly #stateListeners = new Set<() => void>();
  #state: EndpointInfo["state"] = "connecting";
  #problem: string | undefined;

  /** @throws TypeError for a malformed address. */
  constructor(address: string) {
    this.address = address;
    this.#link = new QmpLink(parseQmpAddress(address), {
      greetingTimeoutMs: GREETING_TIMEOUT_MS,
      backOff: { maxMs: RETRY_MS },
    }).start();
    this.#watching = this.#watch();
  }

  get state(): EndpointInfo["state"] {
    return this.#state;
  }

  /** Why it is not connected, in one line; undefined while it is, or before the first attempt has ended. */
  get problem(): string | undefined {
    return this.#problem;
  }

  async execute(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    const { client } = this.#link;
    if (client === undefined) throw new Error(this.#problem ?? `${this.address}: not connected yet`);
    return client.executeUntyped(command, args, { timeoutMs: ANSWER_TIMEOUT_MS });
  }

  onEvent(listener: (event: PeerEvent) => void): () => void {
    this.#eventListeners.add(listener);
    return () => {
      this.#eventListeners.delete(listener);
    };
  }

  onState(listener: () => void): () => void {
    this.#stateListeners.add(listener);
    return () => {
      this.#stateListeners.delete(listener);
    };
  }

  async close(): Promise<void> {
    await this.#link.close();
    await this.#watching;
  }

  async #watch(): Promise<void> {
    for await (const state of this.#link.states()) {
      this.#problem = state.state === "waiting" ? state.error.message : undefined;
      const next = this.#meaning(state);
      if (next !== this.#state) {
        this.#state = next;
        for (const listener of this.#stateListeners) listener();
      }
      if (state.state === "connected") void this.#listen(state.client);
    }
  }

  /** Another attempt is no news: it stays busy or dead until one succeeds. */
  #meaning(state: QmpLinkState): EndpointInfo["state"] {
    switch (state.state) {
      case "connected":
        return "connected";
      case "connecting":
        return this.#state === "connected" ? "connecting" : this.#state;
      case "waiting":
        return state.error.code === "QMP_BUSY" ? "busy" : "dead";
      case "closed":
        return "dead";
    }
  }

  async #listen(client: Extract<QmpLinkState, { state: "connected" }>["client"]): Promise<void> {
    try {
      for await (const event of client.events()) {
        const heard: PeerEvent = { event: event.event, data: event.data, timestamp: event.timestamp };
        for (const listener of this.#eventListeners) listener(heard);
      }
    } catch {
      // The connection has ended, which the link tells.
    }
  }
}
