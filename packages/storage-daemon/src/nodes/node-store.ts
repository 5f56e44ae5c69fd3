import {
  BlockError,
  type BlockGraph,
  type BlockNode,
  type ChildRole,
  type ThrottleGroup,
} from "@blockmirror/block-driver";
import { commandError, isJsonObject, type JsonObject } from "@blockmirror/qmp";
import type { ObjectStore } from "../objects/object-store.ts";
import { mayFallBackToReadOnly, requireNodeName, toDeviceSpec, type OptionsContext } from "./node-options.ts";

/** What is kept of a node besides what the graph knows: what its user asked for. */
export interface NodeRecord {
  /** As given to `blockdev-add`; a node that a command made has the options that would make it. */
  readonly options: JsonObject;
}

/** Nodes are being made or changed; `end` has to be called whatever comes of it. */
export interface NodeChange {
  /** What options of nodes are translated with. */
  readonly context: OptionsContext;
  readonly keepGroup: (group: ThrottleGroup) => ThrottleGroup;
  readonly end: () => void;
}

/** Roles under which a driver's child option appears in the graph. */
const ROLES: Readonly<Record<string, readonly ChildRole[]>> = {
  file: ["file", "filtered"],
  image: ["filtered"],
  backing: ["backing"],
  "data-file": ["data"],
};

/**
 * The nodes as QMP sees them: who owns them, and from what options they were made.
 *
 * A node that `blockdev-add` made is the monitor's until `blockdev-del`. Nodes that came into being inline, or for a
 * job, live as long as somebody uses them.
 */
export class NodeStore {
  readonly graph: BlockGraph;
  readonly #objects: ObjectStore;
  readonly #records: WeakMap<BlockNode, NodeRecord> = new WeakMap();
  readonly #owned: Set<BlockNode> = new Set();
  /** Names of the monitor's nodes that a commit has folded into another: their owner may still say that they can go. */
  readonly #departed: Set<string> = new Set();
  /** Opened for a job: closed when nobody uses them any more. */
  readonly #temporary: Set<BlockNode> = new Set();
  /** Aborted when the daemon ends. */
  readonly #ending: AbortController = new AbortController();
  readonly #opening: Set<Promise<BlockNode>> = new Set();

  constructor(graph: BlockGraph, objects: ObjectStore) {
    this.graph = graph;
    this.#objects = objects;
  }

  /**
   * Begins a change of nodes by options. Groups that the options name, or that are left, cannot be removed until
   * the change ends.
   */
  beginChange(): NodeChange {
    const ends: (() => void)[] = [];
    const keepGroup = (group: ThrottleGroup): ThrottleGroup => {
      ends.push(this.#objects.keepGroup(group));
      return group;
    };
    return {
      context: {
        registry: this.graph.registry,
        hasNode: (name) => this.graph.find(name) !== undefined,
        credentials: (id) => this.#objects.clientCredentials(id),
        throttleGroup: (id) => keepGroup(this.#objects.throttleGroup(id)),
      },
      keepGroup,
      end: () => {
        for (const end of ends.splice(0)) end();
      },
    };
  }

  /** @throws QmpError when the options are refused; BlockError when opening fails. Nothing is left behind then. */
  async add(options: JsonObject): Promise<BlockNode> {
    const name = options["node-name"];
    if (typeof name !== "string") throw commandError("'node-name' must be specified for the root node");
    const node = await this.#open(options);
    this.#departed.delete(name);
    this.#owned.add(node);
    return node;
  }

  /**
   * Opens a node for a job that is to be started. It stays until {@link handOver}, and then as long as somebody uses it;
   * see {@link releaseUnused}.
   */
  openTemporary(options: JsonObject): Promise<BlockNode> {
    return this.#open(options);
  }

  /** The job has been started, or could not be: if nobody uses the node now, it goes. */
  async handOver(node: BlockNode): Promise<void> {
    this.#temporary.add(node);
    await this.releaseUnused();
  }

  /** Opens nothing more, gives up what is being opened, and waits until that has come to an end. */
  async close(): Promise<void> {
    this.#ending.abort(commandError("the daemon ends"));
    await Promise.allSettled(this.#opening);
  }

  /** Closes nodes that were opened for jobs and that nobody uses any more; notes those that jobs have closed. */
  async releaseUnused(): Promise<void> {
    for (const node of this.#owned) {
      if (this.graph.find(node.name) === node) continue;
      this.#owned.delete(node);
      this.#departed.add(node.name);
    }
    for (const node of this.#temporary) {
      if (node.parents.size > 0) continue;
      this.#temporary.delete(node);
      await this.graph.close(node);
    }
  }

  /** @throws QmpError when it is not the monitor's, or in use. */
  async remove(name: string): Promise<void> {
    const node = this.graph.find(name);
    if (node === undefined) {
      if (this.#departed.delete(name)) return;
      throw commandError(`Failed to find node with node-name='${name}'`);
    }
    if (!this.#owned.has(node)) throw commandError(`Node ${name} is not owned by the monitor`);
    if (node.parents.size > 0) throw commandError(`Node ${name} is in use`);
    this.#owned.delete(node);
    await this.graph.close(node);
  }

  /** @throws QmpError of class `GenericError`, or as told. */
  find(name: string, errorClass?: "DeviceNotFound"): BlockNode {
    const node = this.graph.find(name);
    if (node === undefined || !node.isOpen) {
      throw commandError(`Cannot find device='${name}' nor node-name='${name}'`, errorClass);
    }
    return node;
  }

  /** Whether `blockdev-add` made it. */
  isOwned(node: BlockNode): boolean {
    return this.#owned.has(node);
  }

  record(node: BlockNode): NodeRecord | undefined {
    return this.#records.get(node);
  }

  /** Notes that a node was reopened with other options. */
  renew(options: JsonObject): void {
    const name = options["node-name"];
    const node = typeof name === "string" ? this.graph.find(name) : undefined;
    if (node === undefined) return;
    const before = this.#records.get(node)?.options ?? {};
    // Children may be given by name now; what they were made from is still true of them.
    const said = Object.entries(options).filter(
      ([option, value]) =>
        !(Object.hasOwn(ROLES, option) && typeof value === "string" && isJsonObject(before[option])),
    );
    this.#records.set(node, { options: { ...before, ...Object.fromEntries(said) } });
  }

  /** Refuses a name for a new node that is impossible or taken. */
  requireFree(name: string): void {
    requireNodeName(name);
    if (this.graph.find(name) !== undefined) throw commandError(`Duplicate nodes with node-name='${name}'`);
  }

  async #open(options: JsonObject): Promise<BlockNode> {
    this.#ending.signal.throwIfAborted();
    const opening = this.#openWith(options);
    this.#opening.add(opening);
    try {
      const node = await opening;
      this.#remember(node, options);
      return node;
    } finally {
      this.#opening.delete(opening);
    }
  }

  async #openWith(options: JsonObject): Promise<BlockNode> {
    const { context, end } = this.beginChange();
    const { signal } = this.#ending;
    try {
      const spec = toDeviceSpec(options, context);
      try {
        return await this.graph.open(spec, { signal });
      } catch (error) {
        const isReadOnly = error instanceof BlockError && (error.code === "EROFS" || error.code === "EACCES");
        if (!isReadOnly || !mayFallBackToReadOnly(options)) throw error;
        return await this.graph.open(toDeviceSpec(options, { ...context, fallsBackToReadOnly: true }), {
          signal,
        });
      }
    } finally {
      end();
    }
  }

  #remember(node: BlockNode, options: JsonObject): void {
    this.#records.set(node, { options });
    for (const [name, value] of Object.entries(options)) {
      if (!isJsonObject(value) || typeof value["driver"] !== "string") continue;
      for (const role of ROLES[name] ?? ["file", "filtered"]) {
        const child = node.child(role)?.node;
        if (child !== undefined) this.#remember(child, value);
      }
    }
  }
}
