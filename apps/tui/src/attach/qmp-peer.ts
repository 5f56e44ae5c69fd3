import type { EndpointInfo } from "../job-source/job-source.ts";

/** An event of a peer, as it came: nothing about it has been checked but its outer shape. */
export interface PeerEvent {
  readonly event: string;
  readonly data?: unknown;
  readonly timestamp: { readonly seconds: number; readonly microseconds: number };
}

/** What a job source needs of a QMP connection that keeps itself alive. */
export interface QmpPeer {
  /** Where it connects to, for people. */
  readonly address: string;
  /** `busy`: connected, but the monitor serves somebody else and has not greeted us. */
  readonly state: EndpointInfo["state"];
  /** Why it is not connected, in one line that names it; undefined while it is, and where nobody knows. */
  readonly problem?: string | undefined;
  /**
   * Sends one command and resolves with what it returns.
   * @throws Error with the peer's own words when it refuses, or when the connection is gone.
   */
  execute(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown>;
  /** Calls back for every event of the peer. Returns the function that ends it. */
  onEvent(listener: (event: PeerEvent) => void): () => void;
  /** Calls back whenever {@link state} has changed. */
  onState(listener: () => void): () => void;
  /** Ends the connection for good. Jobs of the peer go on. */
  close(): Promise<void>;
}
