import type { Duplex } from "node:stream";
import {
  BlockError,
  BlockGraph,
  type BlockNode,
  type DeviceEvent,
  type DriverRegistry,
  type OpenGate,
} from "@blockmirror/block-driver";
import { JobError, JobManager, type JobEvent } from "@blockmirror/blockjob";
import {
  BLOCK_SCHEMA,
  CommandTable,
  nowTimestamp,
  QmpServerConnection,
  type BlockEvents,
  type QmpTimestamp,
  type QmpVersion,
} from "@blockmirror/qmp";
import type { Clock } from "@blockmirror/ratelimit";
import { bitmapCommands } from "./commands/bitmaps.ts";
import type { DaemonParts } from "./commands/daemon-parts.ts";
import { commitCommands } from "./commands/commit.ts";
import { streamCommands } from "./commands/stream.ts";
import { createCommands } from "./commands/create.ts";
import { exportCommands } from "./commands/exports.ts";
import { extraCommands } from "./commands/extras.ts";
import { introspectionCommands } from "./commands/introspection.ts";
import { jobCommands } from "./commands/jobs.ts";
import { mirrorCommands } from "./commands/mirror.ts";
import { nodeCommands } from "./commands/nodes.ts";
import { qomCommands } from "./commands/qom.ts";
import { createDaemonRegistry } from "./drivers/registry.ts";
import { BlockExports } from "./exports/block-exports.ts";
import { BlockJobs } from "./jobs/block-jobs.ts";
import { NodeStore } from "./nodes/node-store.ts";
import { ObjectStore } from "./objects/object-store.ts";
import { daemonSchema } from "./schema/daemon-schema.ts";
import { EXTRA_SCHEMA } from "./schema/extra-schema.ts";

/** What a {@link Daemon} is made of. */
export interface DaemonOptions {
  /** The drivers it has. Default: {@link createDaemonRegistry}; add drivers of your own there. */
  readonly registry?: DriverRegistry;
  /** Decides on names found inside images. Default: refuse them all. */
  readonly gate?: OpenGate;
  /** Told of what went wrong with nobody there to be answered, and of commands that failed by a mistake of ours. */
  readonly onError?: (error: unknown) => void;
  /** What `query-version` tells besides the protocol's version. Default `Blockmirror`. */
  readonly packageVersion?: string;
  /** The time that throttle groups keep their limits in. Default: the machine's. */
  readonly clock?: Clock;
}

/** The version of QEMU whose commands these are: clients choose by it what they ask for. */
const PROTOCOL_VERSION: QmpVersion["qemu"] = { major: 7, minor: 2, micro: 0 };

/**
 * A storage daemon: block nodes, jobs and exports that QMP clients drive. It has no sockets of its own; every stream given
 * to {@link attachMonitor} is one client.
 */
export class Daemon implements DaemonParts {
  readonly graph: BlockGraph;
  readonly nodes: NodeStore;
  readonly jobs: BlockJobs;
  readonly exports: BlockExports;
  readonly objects: ObjectStore;
  readonly version: QmpVersion;
  /** The commands there are; what else is added here is there too. */
  readonly commands: CommandTable;
  readonly #monitors: Set<QmpServerConnection> = new Set();
  readonly #ended: Promise<void>;
  readonly #onError: (error: unknown) => void;
  #tellEnd: () => void = () => undefined;
  #quitting: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: DaemonOptions = {}) {
    const registry = options.registry ?? createDaemonRegistry();
    this.graph = new BlockGraph({
      registry,
      ...(options.gate === undefined ? {} : { gate: options.gate }),
      onDeviceEvent: (node, event) => this.#passDeviceEvent(node, event),
    });
    this.objects = new ObjectStore(options.clock);
    this.nodes = new NodeStore(this.graph, this.objects);
    this.#onError = options.onError ?? (() => undefined);
    this.jobs = new BlockJobs(new JobManager(), () => this.nodes.releaseUnused().catch(this.#onError));
    this.jobs.manager.subscribe((event) => this.#passJobEvent(event));
    this.exports = new BlockExports(
      this.nodes,
      (id) => this.broadcast("BLOCK_EXPORT_DELETED", { id }),
      this.#onError,
    );
    this.version = { qemu: PROTOCOL_VERSION, package: options.packageVersion ?? "Blockmirror" };
    this.commands = new CommandTable(daemonSchema(registry))
      .add(BLOCK_SCHEMA, introspectionCommands(this))
      .add(BLOCK_SCHEMA, nodeCommands(this))
      .add(BLOCK_SCHEMA, createCommands(this))
      .add(BLOCK_SCHEMA, jobCommands(this))
      .add(BLOCK_SCHEMA, mirrorCommands(this))
      .add(BLOCK_SCHEMA, commitCommands(this))
      .add(BLOCK_SCHEMA, streamCommands(this))
      .add(BLOCK_SCHEMA, bitmapCommands(this))
      .add(BLOCK_SCHEMA, exportCommands(this))
      .add(BLOCK_SCHEMA, qomCommands(this))
      .add(EXTRA_SCHEMA, extraCommands(this));
    this.#ended = new Promise((resolve) => (this.#tellEnd = resolve));
  }

  /** Settles when a client said `quit` or {@link close} was called, and everything has ended. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  /** Serves one client. The stream is the daemon's from here on; it must allow a half-open end. */
  attachMonitor(stream: Duplex, options: { readonly pretty?: boolean } = {}): QmpServerConnection {
    const connection = new QmpServerConnection(stream, this.commands, {
      version: this.version,
      onInternalError: (error) => {
        // Refusals of graph and jobs are answers like others.
        if (!(error instanceof BlockError) && !(error instanceof JobError)) this.#onError(error);
      },
      ...options,
    });
    this.#monitors.add(connection);
    void connection.closed.then(() => this.#monitors.delete(connection));
    return connection;
  }

  /** Tells every client of an event. */
  broadcast<Name extends keyof BlockEvents>(
    name: Name,
    data: BlockEvents[Name],
    timestamp: QmpTimestamp = nowTimestamp(),
  ): void {
    for (const monitor of this.#monitors) monitor.sendEvent(name, { ...data }, timestamp);
  }

  /** What the command `quit` does: settles when jobs and exports have ended; the rest follows after the answer. */
  async quit(): Promise<void> {
    await this.#endUsers();
    // By then the answer has been sent.
    setImmediate(() => void this.close().catch(this.#onError));
  }

  /**
   * Ends everything in order: jobs, exports, nodes, monitors. May be called again.
   *
   * @throws BlockError when an image could not be closed, so that what was written to it is not certain to be there.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  #endUsers(): Promise<void> {
    this.#quitting ??= this.#endJobsAndExports();
    return this.#quitting;
  }

  /** Their last requests do not wait for the limits of throttled nodes. */
  async #endJobsAndExports(): Promise<void> {
    const expedited = this.graph.nodes().map((node) => this.graph.expedite(node));
    try {
      await this.nodes.close();
      await this.jobs.close();
      await this.exports.close();
    } finally {
      for (const end of expedited) end();
    }
  }

  async #close(): Promise<void> {
    try {
      await this.#endUsers();
      await this.graph.closeAll();
    } finally {
      await Promise.all([...this.#monitors].map((monitor) => monitor.close()));
      this.#tellEnd();
    }
  }

  #passDeviceEvent(node: BlockNode, { type, message, fatal = false, offset, length }: DeviceEvent): void {
    if (type !== "corruption") return;
    this.broadcast("BLOCK_IMAGE_CORRUPTED", {
      // No guest's device is above a node here.
      device: "",
      "node-name": node.name,
      msg: message,
      ...(offset === undefined ? {} : { offset }),
      ...(length === undefined ? {} : { size: length }),
      fatal,
    });
  }

  #passJobEvent(event: JobEvent): void {
    const id = "id" in event.data ? event.data.id : event.data.device;
    // Jobs that are not block jobs, such as `create`, have no other events than those of their status.
    const isCreation = this.jobs.manager.find(id)?.type === "create";
    if (isCreation && event.event !== "JOB_STATUS_CHANGE") return;
    for (const monitor of this.#monitors) monitor.sendEvent(event.event, { ...event.data }, event.timestamp);
  }
}
