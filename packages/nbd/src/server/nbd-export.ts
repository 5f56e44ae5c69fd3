import {
  BlockError,
  type BlockEdge,
  type BlockGraph,
  type BlockNode,
  type DirtyBitmap,
  type Permission,
} from "@blockmirror/block-driver";
import {
  DEFAULT_MAXIMUM_PAYLOAD,
  DEFAULT_PREFERRED_BLOCK,
  MAX_STRING,
  TransmissionFlag,
} from "../protocol/constants.ts";
import { allocationDepth, baseAllocation, dirtyBitmapContext, type MetaContext } from "./meta-contexts.ts";
import { Pace } from "./pace.ts";
import { RequestCounters, type TrafficStatistics } from "./statistics.ts";

/** What to export, and how. */
export interface ExportInit {
  /** The name clients ask for: at most 4096 bytes of UTF-8; may be empty, which is the default export. */
  readonly name: string;
  /** The node whose content clients see. The export follows when the graph replaces it. */
  readonly node: BlockNode;
  /** Whether clients may write. Default false. */
  readonly writable?: boolean;
  /**
   * Whether what clients write is on stable storage when it is answered, as if each of their requests had the FUA flag. Default
   * false: clients flush when they need it.
   */
  readonly writethrough?: boolean;
  /** A text for people who list the exports. */
  readonly description?: string;
  /**
   * Names of dirty bitmaps that clients may read as `qemu:dirty-bitmap:NAME`. They are looked for on the node and on its
   * backing chain, and are marked busy while they are exported.
   */
  readonly bitmaps?: readonly string[];
  /** Whether clients may ask which layer provides the data (`qemu:allocation-depth`). Default false. */
  readonly allocationDepth?: boolean;
  /** What the export tolerates from the node's other users. Default: everything but `resize`. */
  readonly shares?: readonly Permission[];
}

/** Something that goes on when an export is not held any more. */
export interface Resumable {
  resume(): void;
}

/**
 * A node that clients reach by a name. It is a parent in the graph: it holds claims, becomes quiet when its node is drained,
 * and follows when its node is replaced, without its clients noticing. Made by `NbdServer.addExport`.
 *
 * While the node is drained, requests wait in the sockets they come from: in order, and without taking memory here.
 */
export class NbdExport {
  readonly name: string;
  readonly description: string | undefined;
  /** Whether clients may write. */
  readonly writable: boolean;
  /** Whether writes are on stable storage when they are answered. */
  readonly writethrough: boolean;
  /** The kinds of block status that clients may ask for. */
  readonly contexts: readonly MetaContext[];
  /** The way to the node. */
  readonly edge: BlockEdge;
  readonly counters: RequestCounters = new RequestCounters();
  /** How much of its clients' requests is taken at a time. */
  readonly pace: Pace = new Pace();
  /** Connections that use it. */
  readonly connections: Set<Resumable> = new Set();
  readonly #graph: BlockGraph;
  readonly #bitmaps: readonly DirtyBitmap[];
  #drains = 0;
  #inFlight = 0;
  readonly #idle: (() => void)[] = [];

  /** @throws BlockError `EINVAL` for a bad name or bitmap, `EROFS` for a node that is read-only, `EBUSY` on a conflict. */
  constructor(graph: BlockGraph, init: ExportInit) {
    const { name, node, description, writable = false } = init;
    for (const [what, text] of [
      ["name", name],
      ["description", description ?? ""],
    ] as const) {
      if (Buffer.byteLength(text) > MAX_STRING || text.includes("\0")) {
        throw new BlockError("EINVAL", `the ${what} of an export has at most ${MAX_STRING} bytes and no NUL`);
      }
    }
    if (writable && node.info.readOnly) {
      throw new BlockError(
        "EROFS",
        `export '${name}' cannot be writable: node '${node.name}' is open read-only; open it writable or export it read-only`,
        { node: node.name },
      );
    }
    this.#graph = graph;
    this.name = name;
    this.description = description;
    this.writable = writable;
    this.writethrough = init.writethrough === true;
    const bitmaps = (init.bitmaps ?? []).map((bitmap) => findBitmap(node, bitmap, name));
    this.#bitmaps = bitmaps;
    this.contexts = [
      baseAllocation,
      ...(init.allocationDepth === true ? [allocationDepth] : []),
      ...bitmaps.map((bitmap) => dirtyBitmapContext(bitmap, bitmap.name ?? "")),
    ];
    this.edge = graph.attach(node, {
      name: `export '${name}'`,
      uses: writable ? ["read", "write"] : ["read"],
      shares: init.shares ?? ["read", "write", "write-unchanged"],
      onDrainBegin: () => this.#beginDrain(),
      onDrainEnd: () => this.#endDrain(),
    });
    for (const bitmap of bitmaps) bitmap.busy = true;
  }

  /** Size in bytes. */
  get size(): number {
    return this.edge.node.size;
  }

  /** The node that the export leads to now. */
  get node(): BlockNode {
    return this.edge.node;
  }

  /** Number of connections that use it. */
  get clientCount(): number {
    return this.connections.size;
  }

  /** What has been done through it. */
  statistics(): TrafficStatistics {
    return this.counters.snapshot();
  }

  /** The transmission flags that a client gets. */
  transmissionFlags(structured: boolean): number {
    // One node and one cache serve all connections, and a flush covers every write that was answered on any of them.
    let flags = TransmissionFlag.HasFlags | TransmissionFlag.CanMultiConnection | TransmissionFlag.SendCache;
    flags |= TransmissionFlag.SendFlush | TransmissionFlag.SendFua;
    if (structured) flags |= TransmissionFlag.SendDf;
    if (!this.writable) return flags | TransmissionFlag.ReadOnly;
    return (
      flags | TransmissionFlag.SendTrim | TransmissionFlag.SendWriteZeroes | TransmissionFlag.SendFastZero
    );
  }

  /** Block size in bytes that suits the node best: a power of two. Any other is served as well. */
  get preferredBlock(): number {
    const { align } = this.edge.info;
    return Math.min(Math.max(DEFAULT_PREFERRED_BLOCK, align.read, align.write), DEFAULT_MAXIMUM_PAYLOAD);
  }

  /** Whether no request may be started now, because the node is drained. */
  get isHeld(): boolean {
    return this.#drains > 0;
  }

  /** A request starts. */
  enter(): void {
    this.#inFlight += 1;
  }

  /** A request has ended. */
  leave(): void {
    this.#inFlight -= 1;
    if (this.#inFlight > 0 || this.#idle.length === 0) return;
    for (const wake of this.#idle.splice(0)) wake();
  }

  /** Settles when no request is in flight. */
  async whenIdle(): Promise<void> {
    while (this.#inFlight > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** Has requests that wait below because of a limit go on, until the function that is returned is called. */
  expedite(): () => void {
    return this.#graph.expedite(this.edge.node);
  }

  /** Lets go of the node. No connection uses the export any more. */
  async detach(): Promise<void> {
    await this.whenIdle();
    for (const bitmap of this.#bitmaps) bitmap.busy = false;
    await this.#graph.detach(this.edge);
  }

  #beginDrain(): Promise<void> | undefined {
    this.#drains += 1;
    return this.#inFlight > 0 ? this.whenIdle() : undefined;
  }

  #endDrain(): void {
    this.#drains -= 1;
    if (this.#drains > 0) return;
    for (const connection of this.connections) {
      // One of them may begin a request that drains again.
      if (this.#drains > 0) return;
      connection.resume();
    }
  }
}

function findBitmap(node: BlockNode, name: string, exportName: string): DirtyBitmap {
  for (let at: BlockNode | undefined = node; at !== undefined; at = below(at)) {
    for (const bitmap of at.dirtyBitmaps) {
      if (bitmap.name !== name) continue;
      if (!bitmap.busy) return bitmap;
      throw new BlockError(
        "EBUSY",
        `dirty bitmap '${name}' of node '${at.name}' is in use and cannot be exported by '${exportName}'`,
        { node: at.name },
      );
    }
  }
  throw new BlockError(
    "EINVAL",
    `export '${exportName}': neither node '${node.name}' nor its backing chain has a dirty bitmap '${name}'`,
    { node: node.name },
  );
}

function below(node: BlockNode): BlockNode | undefined {
  return (node.child("filtered") ?? node.child("backing"))?.node;
}
