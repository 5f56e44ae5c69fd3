import { QmpError } from "../errors.ts";
import type { BlockCommands, BlockEvents } from "../schema/block-schema.ts";
import type { CommandMap } from "../schema/type-of.ts";
import type { QmpAddress } from "./address.ts";
import { BackOff, type BackOffOptions } from "./back-off.ts";
import { QmpClient, type QmpConnectOptions } from "./client.ts";
import { EventStream } from "./event-stream.ts";

/** Where a {@link QmpLink} stands. */
export type QmpLinkState<Commands extends CommandMap = BlockCommands, Events = BlockEvents> =
  | { readonly state: "connecting"; readonly attempt: number }
  | { readonly state: "connected"; readonly client: QmpClient<Commands, Events> }
  /** The attempt failed, or the connection ended. `error.code` is `QMP_BUSY` when another client holds the monitor. */
  | { readonly state: "waiting"; readonly error: QmpError; readonly retryInMs: number }
  | { readonly state: "closed" };

/** How a {@link QmpLink} connects, and comes back. */
export interface QmpLinkOptions extends Omit<QmpConnectOptions, "signal"> {
  readonly backOff?: BackOffOptions;
  /** Ends the link when aborted, as {@link QmpLink.close} does. */
  readonly signal?: AbortSignal;
  /** Waits; resolves early when the signal is aborted. Default: the machine's timers. */
  readonly delay?: (ms: number, signal: AbortSignal) => Promise<void>;
}

/**
 * Keeps a connection to a QMP server: connects, and connects again with growing waits whenever it is lost, refused, or
 * taken by another client.
 *
 * Iterate it to be told of every change. What was lost with a connection is not repeated: after `connected`, ask for
 * everything anew, because events may have been missed.
 */
export class QmpLink<Commands extends CommandMap = BlockCommands, Events = BlockEvents> {
  readonly #address: string | QmpAddress;
  readonly #options: QmpLinkOptions;
  readonly #backOff: BackOff;
  readonly #stop: AbortController = new AbortController();
  readonly #streams: Set<EventStream<QmpLinkState<Commands, Events>>> = new Set();
  #state: QmpLinkState<Commands, Events> = { state: "connecting", attempt: 1 };
  #running: Promise<void> | undefined;

  /** Nothing happens before {@link QmpLink.start}. @throws RangeError for impossible back-off values. */
  constructor(address: string | QmpAddress, options: QmpLinkOptions = {}) {
    this.#address = address;
    this.#options = options;
    this.#backOff = new BackOff(options.backOff);
  }

  /** Where it stands now. */
  get state(): QmpLinkState<Commands, Events> {
    return this.#state;
  }

  /** The client, while connected. */
  get client(): QmpClient<Commands, Events> | undefined {
    return this.#state.state === "connected" ? this.#state.client : undefined;
  }

  /** Begins to connect. Further calls do nothing. */
  start(): this {
    this.#running ??= this.#run();
    return this;
  }

  /** The present state, then each change, until the link is closed; `closed` is the last. */
  states(): AsyncIterableIterator<QmpLinkState<Commands, Events>, undefined> {
    const stream = new EventStream<QmpLinkState<Commands, Events>>(() => this.#streams.delete(stream));
    stream.push(this.#state);
    if (this.#state.state === "closed") stream.end();
    else this.#streams.add(stream);
    return stream;
  }

  /** Closes the connection and stops trying. May be called again. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    if (this.#state.state !== "closed") this.#enter({ state: "closed" });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #enter(state: QmpLinkState<Commands, Events>): void {
    this.#state = state;
    for (const stream of this.#streams) stream.push(state);
    if (state.state === "closed") for (const stream of this.#streams) stream.end();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    const stop = (): void => this.#stop.abort();
    this.#options.signal?.addEventListener("abort", stop, { once: true });
    if (this.#options.signal?.aborted === true) stop();
    for (let attempt = 1; !signal.aborted; attempt += 1) {
      this.#enter({ state: "connecting", attempt });
      const error = await this.#connectOnce(signal);
      if (signal.aborted) break;
      const retryInMs = this.#backOff.next();
      this.#enter({ state: "waiting", error, retryInMs });
      await (this.#options.delay ?? delay)(retryInMs, signal);
    }
    this.#options.signal?.removeEventListener("abort", stop);
    this.#enter({ state: "closed" });
  }

  /** One connection, from the attempt to its end; answers why it ended. */
  async #connectOnce(signal: AbortSignal): Promise<QmpError> {
    let client: QmpClient<Commands, Events>;
    try {
      client = await QmpClient.connect<Commands, Events>(this.#address, { ...this.#options, signal });
    } catch (error) {
      return error instanceof QmpError
        ? error
        : new QmpError("QMP_CONNECT", error instanceof Error ? error.message : String(error), {
            cause: error,
          });
    }
    const close = (): void => void client.close();
    signal.addEventListener("abort", close, { once: true });
    if (signal.aborted) close();
    this.#backOff.reset();
    this.#enter({ state: "connected", client });
    const reason = await client.closed;
    signal.removeEventListener("abort", close);
    return reason;
  }
}

async function delay(ms: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end, { once: true });
    if (signal.aborted) end();
  });
}
