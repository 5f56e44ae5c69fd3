import type { CreateContext } from "../contract/driver.ts";
import type { NamedBacking } from "../contract/device.ts";
import type { DeviceSpec } from "../contract/options.ts";
import { BlockError } from "../errors.ts";
import type { DriverRegistry } from "../registry.ts";
import { changeBackingFile, openBacking, setBacking } from "./backing.ts";
import { checkClaims } from "./claims.ts";
import { expedite, type DrainedSection } from "./drain.ts";
import { insertFilter, removeFilter, type FilterInit } from "./filters.ts";
import { denyGate, type OpenGate } from "./gate.ts";
import { BlockEdge, type BlockNode, type ParentInit } from "./node.ts";
import { openNode, resolveReference } from "./open-node.ts";
import { permissionMask, type PermissionClaim } from "./permissions.ts";
import { reopenNode } from "./reopen.ts";
import { replaceNow } from "./replace.ts";
import { GraphStructure, type DeviceEventListener } from "./structure.ts";
import { backingChain } from "./topology.ts";

/** Options of a {@link BlockGraph}. */
export interface GraphOptions {
  readonly registry: DriverRegistry;
  /** Decides on names found inside images. Default: refuse them all. */
  readonly gate?: OpenGate;
  /** Told of what devices report outside any request, when it is put into the node's `events`. Must not throw. */
  readonly onDeviceEvent?: DeviceEventListener;
}

/**
 * The block graph: nodes, the edges between them, and the operations that change it. Every change is atomic: it is
 * checked in full and then made at one instant, or refused without effect.
 */
export class BlockGraph {
  readonly registry: DriverRegistry;
  readonly #options: GraphOptions;
  /** Set anew in what {@link changing} returns, and never after that. */
  #structure: GraphStructure;

  constructor(options: GraphOptions) {
    this.registry = options.registry;
    this.#options = options;
    this.#structure = new GraphStructure(
      options.registry,
      options.gate ?? denyGate,
      options.onDeviceEvent ?? (() => undefined),
    );
  }

  /**
   * The same graph for somebody who changes it in several steps, and does not become quiet between them: a job that leads its
   * users elsewhere. Sections that begin here, in whatever operation, tell parents so ({@link DrainNotice}). Other sections
   * wait for those who are in the middle of a change, and these must not wait for each other.
   */
  changing(): BlockGraph {
    const view = new BlockGraph(this.#options);
    view.#structure = this.#structure.changing();
    return view;
  }

  /** Every node, in order of creation. */
  nodes(): readonly BlockNode[] {
    return [...this.#structure.nodes.values()];
  }

  /** The node of that name, or undefined. */
  find(name: string): BlockNode | undefined {
    return this.#structure.nodes.get(name);
  }

  /**
   * Opens a node and, inline, the children its spec describes. The caller owns it until {@link close}.
   * @throws BlockError for a bad spec, a refused name, a conflict of permissions, or whatever the driver meets. Nothing
   * stays open after a failure.
   */
  async open(spec: DeviceSpec, options: { readonly signal?: AbortSignal } = {}): Promise<BlockNode> {
    refuseAborted(options.signal, `opening a '${spec.driver}' node`);
    return openNode(this.#structure, spec, { owned: true, readOnly: false, depth: 0, ...options });
  }

  /**
   * Opens an image with its backing chain and tells the chain.
   * @returns the node, which the caller owns, and the images of its chain from the bottom up: the last one is the node
   * itself, or what it filters.
   * @throws as {@link open}.
   */
  async openChain(
    spec: DeviceSpec,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<{ readonly node: BlockNode; readonly chain: readonly BlockNode[] }> {
    const node = await this.open(spec, options);
    return { node, chain: backingChain(node) };
  }

  /**
   * Opens a node for writing, or for reading only, while it is in use. Children that hold its bytes follow: for writing
   * those that are read-only, for reading those that were opened inline and that nobody else writes. Backing images stay
   * as they are. Requests are held back meanwhile.
   *
   * Dirty bitmaps that the image stores are loaded again: look them up by name afterwards.
   * @throws BlockError `EBUSY` while somebody claims to write what is to be read-only, or when a stored bitmap is in use;
   * `ENOTSUP` when a driver cannot; or whatever opening meets. Everything is as before then, unless even that cannot be
   * had again: the node refuses requests then (`BLK_FENCED`).
   */
  async reopen(node: BlockNode, { readOnly }: { readonly readOnly: boolean }): Promise<void> {
    this.#structure.mustKnow(node);
    await reopenNode(this.#structure, node, readOnly);
  }

  /**
   * Gives a node another backing node, or none, while it is in use. It is the caller who makes sure that what the node
   * shows stays the same. The image keeps the name it records: see {@link changeBackingFile}.
   * The old backing node is closed when it was opened inline and nobody else uses it.
   * @throws BlockError `EBUSY` on a conflict of permissions, `EINVAL` for a loop, or a node that cannot have a backing
   * node; nothing is changed then.
   */
  async setBacking(node: BlockNode, backing: BlockNode | null): Promise<void> {
    this.#structure.mustKnow(node);
    if (backing !== null) this.#structure.mustKnow(backing);
    await setBacking(this.#structure, node, backing);
  }

  /**
   * Opens the backing file that the image of a node names, with the chain below, when the node was opened without it.
   * What is named inside images is opened only through the graph's gate.
   * @throws BlockError whatever opening it meets, `BLK_DENIED` from the gate; the node stays as it is then.
   */
  async openBacking(node: BlockNode): Promise<void> {
    this.#structure.mustKnow(node);
    await openBacking(this.#structure, node);
  }

  /**
   * Changes the name of the backing file that an image records; null records none. The backing node in use stays.
   * @throws BlockError `EROFS` for a read-only node, `ENOTSUP` when the driver records no backing file.
   */
  async changeBackingFile(node: BlockNode, backing: NamedBacking | null): Promise<void> {
    this.#structure.mustKnow(node);
    await changeBackingFile(this.#structure, node, backing);
  }

  /**
   * Creates an image with a driver's `create`. `options` holds that driver's create options, children included.
   * @throws BlockError `ENOTSUP` when the driver cannot create images.
   */
  async create(
    driverName: string,
    options: Readonly<Record<string, unknown>>,
    signal?: AbortSignal,
  ): Promise<void> {
    const driver = this.registry.get(driverName);
    if (driver.create === undefined) {
      throw new BlockError("ENOTSUP", `driver '${driverName}' cannot create images`);
    }
    refuseAborted(signal, `creating a ${driverName} image`);
    const used: BlockEdge[] = [];
    const context: CreateContext = {
      ...(signal !== undefined && { signal }),
      openChild: async (reference) => {
        const node = await resolveReference(this.#structure, reference, { readOnly: false, depth: 0 });
        try {
          const edge = this.attach(node, {
            name: `creation of a ${driverName} image`,
            uses: ["read", "write", "resize"],
            shares: ["read"],
          });
          used.push(edge);
          return edge;
        } catch (error) {
          if (!node.owned) await this.#structure.closeIfUnused(node);
          throw error;
        }
      },
    };
    try {
      await driver.create(options, context);
    } finally {
      for (const edge of used) await this.detach(edge);
    }
  }

  /**
   * Attaches a parent from outside the graph to a node.
   * @throws BlockError `EBUSY` naming both sides when the claims conflict.
   */
  attach(node: BlockNode, parent: ParentInit): BlockEdge {
    this.#structure.mustKnow(node);
    if (!node.isOpen) {
      throw new BlockError("ESHUTDOWN", `node '${node.name}' is still being opened`, { node: node.name });
    }
    const edge = this.#structure.link(new BlockEdge(node, parent, this.#structure.sections));
    try {
      this.#structure.sections.greet(edge);
    } catch (error) {
      this.#structure.unlink(edge);
      throw error;
    }
    return edge;
  }

  /** Detaches a parent that {@link attach} made. Nodes opened inline that nobody uses any more are closed. */
  async detach(edge: BlockEdge): Promise<void> {
    if (edge.owner !== undefined) throw new TypeError("children are detached by closing their parent");
    const { node } = edge;
    if (!node.parents.has(edge)) return;
    this.#structure.unlink(edge);
    if (!node.owned) await this.#structure.closeIfUnused(node);
  }

  /**
   * Changes what a parent claims.
   * @throws BlockError `EBUSY` when the new claim conflicts; the old one then stays.
   */
  reclaim(edge: BlockEdge, claim: PermissionClaim): void {
    const before = { uses: edge.uses, shares: edge.shares };
    edge.reclaim(permissionMask(claim.uses), permissionMask(claim.shares));
    try {
      checkClaims(edge.node);
    } catch (error) {
      edge.reclaim(before.uses, before.shares);
      checkClaims(edge.node);
      throw error;
    }
  }

  /**
   * Closes a node that the caller owns, and the inline nodes below that nobody else uses.
   * @throws BlockError `EBUSY` while it has parents.
   */
  async close(node: BlockNode): Promise<void> {
    if (this.#structure.nodes.get(node.name) !== node) return;
    const [parent] = node.parents;
    if (parent !== undefined) {
      throw new BlockError("EBUSY", `node '${node.name}' cannot be closed: ${parent.parentName} uses it`, {
        node: node.name,
        operation: "close",
      });
    }
    await this.#structure.closeTree(node);
  }

  /** Closes everything, users or not. Collects failures and throws the first. */
  async closeAll(): Promise<void> {
    const failures: unknown[] = [];
    for (const node of this.nodes())
      for (const edge of node.parents) if (edge.owner === undefined) this.#structure.unlink(edge);
    while (this.#structure.nodes.size > 0) {
      const root = this.nodes().find((node) => node.parents.size === 0);
      if (root === undefined) throw new BlockError("EBUSY", "the graph has a loop and cannot be closed");
      try {
        await this.#structure.closeTree(root);
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  /**
   * Waits until no request is in flight on `node` or above it, and holds new ones back until the section ends. Sections
   * nest. Parents with drain callbacks are asked to become quiet; all others wait at their edge.
   * @throws BlockError `ECANCELED` when `signal` is aborted before that: nobody is held any more then.
   */
  async drain(node: BlockNode, { signal }: { readonly signal?: AbortSignal } = {}): Promise<DrainedSection> {
    this.#structure.mustKnow(node);
    return this.#structure.drain(node, signal);
  }

  /**
   * Resolves at an instant at which nothing is in flight on `node` or above it. Unlike {@link drain} it holds nobody back, so
   * beside busy guests that instant may not come.
   */
  async idle(node: BlockNode): Promise<void> {
    this.#structure.mustKnow(node);
    await this.#structure.sections.idle(node);
  }

  /**
   * Has requests at `node` and above it that a device holds back on purpose, to limit their rate, go on at once, until the
   * function that is returned is called. For whoever waits for requests of its own without draining the node, which
   * does the same: nothing is held here, and nothing waited for. No effect on a node that has left the graph.
   */
  expedite(node: BlockNode): () => void {
    return expedite(node);
  }

  /**
   * Leads every parent of `from` to `to` at one instant, inside a drained section of its own. Parents inside the subtree
   * of `to` stay, so that no loop arises. The nodes must have the same size, unless all that is led are overlays which
   * are longer than neither.
   */
  async replace(from: BlockNode, to: BlockNode): Promise<void> {
    const above = await this.drain(from);
    try {
      const below = await this.drain(to);
      try {
        this.replaceNow(from, to);
      } finally {
        below.end();
      }
    } finally {
      above.end();
    }
  }

  /**
   * {@link replace} for callers that hold `from` drained already, for whom it must happen at this instant.
   * @throws BlockError `EBUSY` on a conflict of permissions, `EINVAL` when sizes differ; nothing is changed then.
   */
  replaceNow(from: BlockNode, to: BlockNode, keep: (edge: BlockEdge) => boolean = () => false): void {
    replaceNow(this.#structure, from, to, keep);
  }

  /**
   * Puts a filter above a node at one instant: every parent of the node (except those kept below) then uses the filter.
   * The filter is removed with {@link removeFilter}.
   */
  async insertFilter(node: BlockNode, init: FilterInit): Promise<BlockNode> {
    return insertFilter(this.#structure, node, init);
  }

  /**
   * Takes a filter away at one instant: its parents then use `to`, by default the node it filtered. The caller holds the
   * filter drained when it gives `to`; otherwise this drains.
   * @throws BlockError as {@link drain}; the filter stays then.
   */
  async removeFilter(
    filter: BlockNode,
    to?: BlockNode,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<void> {
    await removeFilter(this.#structure, filter, to, options.signal);
  }
}

function refuseAborted(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted === true)
    throw new BlockError("ECANCELED", `${what} was cancelled`, { operation: "open" });
}
