import type { Endpoint } from "./connection.ts";
import type { NbdTimers } from "./timers.ts";

/** How patient a session is, in milliseconds. */
export interface Patience {
  /** For one attempt to connect and shake hands. */
  readonly openMs: number;
  /** For a lost server to come back; 0: requests fail at once. */
  readonly reconnectMs: number;
  /** For an answer, while no byte moves. */
  readonly requestMs: number;
  /** The same, while a flush is being done. */
  readonly flushMs: number;
}

/** What makes a {@link Session}. */
export interface SessionInit {
  readonly endpoint: Endpoint;
  /** For messages. */
  readonly label: string;
  readonly readOnly: boolean;
  /** Most connections, where the server allows several. */
  readonly connections: number;
  readonly patience: Patience;
  /** The server keeps what it answered, even when it is started again. */
  readonly trustsServer: boolean;
  readonly timers: NbdTimers;
  /** Takes one sentence about a loss or a recovery. */
  readonly report: (message: string) => void;
}
