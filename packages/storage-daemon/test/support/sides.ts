import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { directoryGate } from "@blockmirror/block-driver";
import { QmpClient, QmpError, type BlockCommands, type JsonObject, type QmpAnyEvent } from "@blockmirror/qmp";
import { StorageDaemon } from "@blockmirror/peers";

import { Daemon, type DaemonOptions } from "../../src/index.ts";

/** An answer without what only people read: the class of an error. */
export type Answer = { readonly return: unknown } | { readonly error: string };

/** Events by names that no type knows. */
interface AnyEvents {
  readonly [name: string]: JsonObject;
}

type SideClient = QmpClient<BlockCommands, AnyEvents>;

/** A daemon with a client, ours or QEMU's: a script can be run on both and the answers compared. */
export class Side {
  /** For images; removed with the side. */
  readonly directory: string;
  readonly client: SideClient;
  /** Whether it is our daemon. */
  readonly isOurs: boolean;
  /** Where other clients can connect; of QEMU's daemon, only when this one has gone. */
  readonly socketPath: string;
  readonly #events: AsyncIterableIterator<QmpAnyEvent, undefined>;
  readonly #dispose: () => Promise<void>;

  private constructor(
    isOurs: boolean,
    directory: string,
    socketPath: string,
    client: SideClient,
    dispose: () => Promise<void>,
  ) {
    this.isOurs = isOurs;
    this.directory = directory;
    this.socketPath = socketPath;
    this.client = client;
    this.#events = client.events();
    this.#dispose = dispose;
  }

  static async theirs(): Promise<Side> {
    const daemon = await StorageDaemon.start();
    const client = await QmpClient.connect<BlockCommands, AnyEvents>(daemon.qmpSocketPath);
    return new Side(false, daemon.directory, daemon.qmpSocketPath, client, async () => {
      await client.close();
      await daemon.stop();
    });
  }

  static async ours(options: DaemonOptions = {}): Promise<Side & { readonly daemon: Daemon }> {
    const { directory, path, daemon, dispose } = await startOurs(options);
    const client = await QmpClient.connect<BlockCommands, AnyEvents>(path);
    return Object.assign(
      new Side(true, directory, path, client, async () => {
        await client.close();
        await dispose();
      }),
      { daemon },
    );
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  /** Runs a command; an error is an answer, too. */
  async ask(command: string, args?: JsonObject): Promise<Answer> {
    try {
      return { return: await this.client.executeUntyped(command, args) };
    } catch (error) {
      if (error instanceof QmpError && error.errorClass !== undefined) return { error: error.errorClass };
      throw error;
    }
  }

  /** Runs a command that must succeed. */
  async run(command: string, args?: JsonObject): Promise<unknown> {
    return this.client.executeUntyped(command, args);
  }

  /** The events up to one that `isLast` accepts: statuses by their word, others by their name. */
  async eventsUntil(isLast: (word: string, event: QmpAnyEvent) => boolean): Promise<string[]> {
    const words: string[] = [];
    for (;;) {
      const { value: event, done } = await this.#events.next();
      if (done === true) throw new Error(`the connection ended after ${words.join(", ")}`);
      const { status } = event.data;
      const word = typeof status === "string" ? status : event.event;
      words.push("error" in event.data ? `${word} with error` : word);
      if (isLast(word, event)) return words;
    }
  }

  /** The next event as it is. */
  async nextEvent(): Promise<QmpAnyEvent> {
    const { value, done } = await this.#events.next();
    if (done === true) throw new Error("the connection ended");
    return value;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#dispose();
  }
}

/** A daemon of ours that listens in a directory of its own. */
async function startOurs(options: DaemonOptions = {}): Promise<{
  readonly directory: string;
  readonly path: string;
  readonly daemon: Daemon;
  readonly dispose: () => Promise<void>;
}> {
  const directory = await mkdtemp(join(tmpdir(), "blockmirror-daemon-"));
  const path = join(directory, "qmp.sock");
  const daemon = new Daemon({ gate: directoryGate(), ...options });
  const server = createServer({ allowHalfOpen: true }, (socket) => void daemon.attachMonitor(socket));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    directory,
    path,
    daemon,
    dispose: async () => {
      await daemon.close();
      await new Promise((resolve) => server.close(resolve));
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Keys and types of a value: strings and numbers lose their value, all else stays. */
export function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item: unknown) => shapeOf(item));
  if (typeof value === "bigint") return "number";
  if (typeof value !== "object" || value === null) {
    return typeof value === "string" || typeof value === "number" ? typeof value : value;
  }
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, shapeOf(member)]));
}
