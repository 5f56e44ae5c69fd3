import type { ChildRole, CreateContext, OpenContext } from "../contract/driver.ts";
import type { BlockChild, BlockDevice } from "../contract/device.ts";
import type { ChildReference, DeviceSpec } from "../contract/options.ts";
import { BlockError } from "../errors.ts";
import type { DriverRegistry } from "../registry.ts";
import { DrainSections, type DrainedSection } from "./drain.ts";
import { checkClaims, childClaim } from "./claims.ts";
import { checkDevice } from "./check-device.ts";
import { askGate, denyGate, type OpenGate } from "./gate.ts";
import { BlockEdge, BlockNode, type ParentInit } from "./node.ts";
import { ALL_PERMISSIONS, permissionMask, type Permission, type PermissionClaim } from "./permissions.ts";
import { attachStoredBitmaps } from "./stored-bitmaps.ts";
import { nodesBelow } from "./topology.ts";

/** Options of a {@link BlockGraph}. */
export interface GraphOptions {
  readonly registry: DriverRegistry;
  /** Decides on names found inside images. Default: refuse them all. */
  readonly gate?: OpenGate;
}

/** A filter that a program puts above a node: see {@link BlockGraph.insertFilter}. */
export interface FilterInit {
  /** Name of the filter's node. */
  readonly nodeName: string;
  /** Makes the filter's device around its filtered child. */
  readonly device: (filtered: BlockChild) => BlockDevice;
  /**
   * What the filter tolerates from others on the node below it. A filter that has to see every write leaves `write` out:
   * then nobody can write past it. Default: everything its own parents tolerate.
   */
  readonly shares?: readonly Permission[];
  /** Parents that stay on the node itself. */
  readonly keepBelow?: (edge: BlockEdge) => boolean;
}

const NODE_NAME = /^[A-Za-z#_][A-Za-z0-9#._-]{0,126}$/;

/**
 * The block graph: nodes, the edges between them, and the operations that change it. Every change is atomic: it is
 * checked in full and then made at one instant, or refused without effect.
 */
export class BlockGraph {
  readonly registry: DriverRegistry;
  readonly #gate: OpenGate;
  readonly #nodes = new Map<string, BlockNode>();
  readonly #sections = new DrainSections();
  #generated = 0;

  constructor(options: GraphOptions) {
    this.registry = options.registry;
    this.#gate = options.gate ?? denyGate;
  }

  /** Every node, in order of creation. */
  nodes(): readonly BlockNode[] {
    return [...this.#nodes.values()];
  }

  /** The node of that name, or undefined. */
  find(name: string): BlockNode | undefined {
    return this.#nodes.get(name);
  }

  /**
   * Opens a node and, inline, the children its spec describes. The caller owns it until {@link close}.
   * @throws BlockError for a bad spec, a refused name, a conflict of permissions, or whatever the driver meets. Nothing
   * stays open after a failure.
   */
  async open(spec: DeviceSpec, options: { readonly signal?: AbortSignal } = {}): Promise<BlockNode> {
    refuseAborted(options.signal, `opening a '${spec.driver}' node`);
    return this.#open(spec, { owned: true, readOnly: false, depth: 0, ...options });
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
        const node = await this.#resolve(reference, { readOnly: false, depth: 0 });
        try {
          const edge = this.attach(node, {
            name: `creation of a ${driverName} image`,
            uses: ["read", "write", "resize"],
            shares: ["read"],
          });
          used.push(edge);
          return edge;
        } catch (error) {
          if (!node.owned) await this.#closeIfUnused(node);
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
    this.#mustKnow(node);
    if (!node.isOpen) {
      throw new BlockError("ESHUTDOWN", `node '${node.name}' is still being opened`, { node: node.name });
    }
    const edge = this.#link(new BlockEdge(node, parent, this.#sections));
    try {
      this.#sections.greet(edge);
    } catch (error) {
      this.#unlink(edge);
      throw error;
    }
    return edge;
  }

  /** Detaches a parent that {@link attach} made. Nodes opened inline that nobody uses any more are closed. */
  async detach(edge: BlockEdge): Promise<void> {
    if (edge.owner !== undefined) throw new TypeError("children are detached by closing their parent");
    const { node } = edge;
    if (!node.parents.has(edge)) return;
    this.#unlink(edge);
    if (!node.owned) await this.#closeIfUnused(node);
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
    if (this.#nodes.get(node.name) !== node) return;
    const [parent] = node.parents;
    if (parent !== undefined) {
      throw new BlockError("EBUSY", `node '${node.name}' cannot be closed: ${parent.parentName} uses it`, {
        node: node.name,
        operation: "close",
      });
    }
    await this.#closeTree(node);
  }

  /** Closes everything, users or not. Collects failures and throws the first. */
  async closeAll(): Promise<void> {
    const failures: unknown[] = [];
    for (const node of this.nodes())
      for (const edge of node.parents) if (edge.owner === undefined) this.#unlink(edge);
    while (this.#nodes.size > 0) {
      const root = this.nodes().find((node) => node.parents.size === 0);
      if (root === undefined) throw new BlockError("EBUSY", "the graph has a loop and cannot be closed");
      try {
        await this.#closeTree(root);
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  /**
   * Waits until no request is in flight on `node` or above it, and holds new ones back until the section ends. Sections
   * nest. Parents with drain callbacks are asked to become quiet; all others wait at their edge.
   */
  async drain(node: BlockNode): Promise<DrainedSection> {
    this.#mustKnow(node);
    return this.#sections.begin(node);
  }

  /**
   * Leads every parent of `from` to `to` at one instant, inside a drained section of its own. Parents inside the subtree
   * of `to` stay, so that no loop arises. The nodes must have the same size.
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
    this.#mustKnow(from);
    this.#mustKnow(to);
    if (from.size !== to.size) {
      throw new BlockError(
        "EINVAL",
        `node '${from.name}' (${from.size} bytes) cannot be replaced by '${to.name}' (${to.size} bytes): sizes differ`,
        { node: from.name, operation: "replace" },
      );
    }
    if (!this.#sections.isQuiet(from))
      throw new TypeError(`node '${from.name}' must be drained before it is replaced`);
    const subtree = nodesBelow(to);
    const moving = [...from.parents].filter(
      (edge) => !keep(edge) && (edge.owner === undefined || !subtree.has(edge.owner)),
    );
    this.#move(moving, from, to);
  }

  /**
   * Puts a filter above a node at one instant: every parent of the node (except those kept below) then uses the filter.
   * The filter is removed with {@link removeFilter}.
   */
  async insertFilter(node: BlockNode, init: FilterInit): Promise<BlockNode> {
    const section = await this.drain(node);
    try {
      const filter = this.#makeNode(init.nodeName, "filter", true);
      const edge = new BlockEdge(
        node,
        { name: `node '${filter.name}'`, uses: [], shares: ALL_PERMISSIONS },
        this.#sections,
        { owner: filter, role: "filtered" },
      );
      try {
        filter.own(init.device(edge), false);
        const moving = [...node.parents].filter((parent) => init.keepBelow?.(parent) !== true);
        this.#link(edge);
        this.#move(moving, node, filter);
        // Only now: until they had moved, the filter's own parents would have been excluded.
        this.#limitShares(edge, init.shares ?? ALL_PERMISSIONS, () => this.#move(moving, filter, node));
      } catch (error) {
        this.#unlink(edge);
        this.#nodes.delete(filter.name);
        await filter.shut().catch(() => {});
        throw error;
      }
      return filter;
    } finally {
      section.end();
    }
  }

  /**
   * Takes a filter away at one instant: its parents then use `to`, by default the node it filtered. The caller holds the
   * filter drained when it gives `to`; otherwise this drains.
   */
  async removeFilter(filter: BlockNode, to?: BlockNode): Promise<void> {
    const child = filter.child("filtered");
    if (filter.kind !== "filter" || child === undefined) {
      throw new TypeError(`node '${filter.name}' is not a filter`);
    }
    const section = await this.drain(child.node);
    try {
      // The filter's parents come to the node it filtered, where it may have excluded them.
      const { sharesAtMost } = child;
      child.sharesAtMost = permissionMask(ALL_PERMISSIONS);
      try {
        checkClaims(filter);
        this.replaceNow(filter, to ?? child.node);
      } catch (error) {
        child.sharesAtMost = sharesAtMost;
        checkClaims(filter);
        throw error;
      }
      await this.#closeTree(filter);
    } finally {
      section.end();
    }
  }

  async #open(spec: DeviceSpec, how: OpenHow): Promise<BlockNode> {
    const driver = this.registry.get(spec.driver);
    const readOnly = spec.readOnly ?? how.readOnly;
    const node = this.#makeNode(spec.nodeName ?? this.#generateName(), driver.kind, how.owned);
    const attached: BlockEdge[] = [];
    const addChild = async (
      reference: ChildReference,
      role: ChildRole,
      depth: number,
    ): Promise<BlockChild> => {
      const childReadOnly = readOnly || role === "backing";
      const child = await this.#resolve(reference, { readOnly: childReadOnly, depth, ...signalOf(how) });
      if (this.#nodes.get(node.name) !== node) {
        if (!child.owned) await this.#closeIfUnused(child);
        throw closedMeanwhile(node);
      }
      const edge = new BlockEdge(
        child,
        { name: `node '${node.name}'`, ...childClaim(role, readOnly) },
        this.#sections,
        {
          owner: node,
          role,
        },
      );
      try {
        attached.push(this.#link(edge));
      } catch (error) {
        if (!child.owned) await this.#closeIfUnused(child);
        throw error;
      }
      return edge;
    };
    const context: OpenContext = {
      nodeName: node.name,
      readOnly,
      ...signalOf(how),
      openChild: (reference, role) => addChild(reference, role, how.depth),
      openImplicit: async (reference, role) => {
        const depth = how.depth + 1;
        const allowed = await askGate(this.#gate, node, {
          reference,
          role,
          depth,
          writable: !readOnly && role !== "backing",
        });
        return addChild(allowed, role, depth);
      },
      report: (event) => node.report(event),
    };
    try {
      node.own(await driver.open(spec, context), readOnly);
      if (this.#nodes.get(node.name) !== node) throw closedMeanwhile(node);
      checkDevice(node, this.#nodes.values());
      await attachStoredBitmaps(node);
      return node;
    } catch (error) {
      if (this.#nodes.get(node.name) === node) this.#nodes.delete(node.name);
      // What closing may meet on top says less than why the opening failed.
      await node.shut().catch(() => {});
      for (const edge of attached) await this.#unlinkChild(edge).catch(() => {});
      throw error;
    }
  }

  async #resolve(reference: ChildReference, how: Omit<OpenHow, "owned">): Promise<BlockNode> {
    if (typeof reference !== "string") return this.#open(reference, { ...how, owned: false });
    const node = this.#nodes.get(reference);
    if (node === undefined) throw new BlockError("EINVAL", `there is no node named '${reference}'`);
    if (!node.isOpen) {
      throw new BlockError("EINVAL", `node '${reference}' is still being opened and cannot be a child yet`);
    }
    return node;
  }

  #makeNode(name: string, kind: BlockNode["kind"], owned: boolean): BlockNode {
    if (!NODE_NAME.test(name)) {
      throw new BlockError(
        "EINVAL",
        `'${name}' is not a node name: a letter, then letters, digits and # . _ -`,
      );
    }
    if (this.#nodes.has(name)) throw new BlockError("EEXIST", `a node named '${name}' exists already`);
    const node = new BlockNode({ name, kind, owned, onIdle: this.#sections.onIdle });
    this.#nodes.set(name, node);
    return node;
  }

  #generateName(): string {
    this.#generated += 1;
    return `#block${String(this.#generated).padStart(3, "0")}`;
  }

  #mustKnow(node: BlockNode): void {
    if (this.#nodes.get(node.name) !== node) {
      throw new BlockError("ESHUTDOWN", `node '${node.name}' is not in this graph any more`, {
        node: node.name,
      });
    }
  }

  #link(edge: BlockEdge): BlockEdge {
    edge.node.link(edge, "parent");
    edge.owner?.link(edge, "child");
    try {
      checkClaims(edge.node);
      return edge;
    } catch (error) {
      this.#unlink(edge);
      throw error;
    }
  }

  #unlink(edge: BlockEdge): void {
    edge.retire();
    this.#sections.forget(edge);
    edge.node.unlink(edge, "parent");
    edge.owner?.unlink(edge, "child");
    checkClaims(edge.node);
  }

  async #unlinkChild(edge: BlockEdge): Promise<void> {
    this.#unlink(edge);
    if (!edge.node.owned) await this.#closeIfUnused(edge.node);
  }

  #move(edges: readonly BlockEdge[], from: BlockNode, to: BlockNode): void {
    const shift = (source: BlockNode, target: BlockNode): void => {
      for (const edge of edges) {
        source.unlink(edge, "parent");
        edge.moveTo(target);
        target.link(edge, "parent");
      }
    };
    shift(from, to);
    try {
      // First the side that lost parents: a filter then claims less from the node that they may have come to.
      checkClaims(from);
      checkClaims(to);
    } catch (error) {
      shift(to, from);
      checkClaims(to);
      checkClaims(from);
      throw error;
    }
  }

  #limitShares(edge: BlockEdge, shares: readonly Permission[], undo: () => void): void {
    const before = edge.sharesAtMost;
    edge.sharesAtMost = permissionMask(shares);
    try {
      if (edge.owner !== undefined) checkClaims(edge.owner);
    } catch (error) {
      edge.sharesAtMost = before;
      undo();
      throw error;
    }
  }

  async #closeIfUnused(node: BlockNode): Promise<void> {
    if (node.parents.size === 0) await this.#closeTree(node);
  }

  /** Closes a node without parents, then the inline children that nobody else uses; the first failure is thrown last. */
  async #closeTree(node: BlockNode): Promise<void> {
    const failures: unknown[] = [];
    this.#nodes.delete(node.name);
    try {
      await node.shut();
    } catch (error) {
      failures.push(error);
    }
    for (const edge of node.children) {
      try {
        await this.#unlinkChild(edge);
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}

function refuseAborted(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted === true)
    throw new BlockError("ECANCELED", `${what} was cancelled`, { operation: "open" });
}

function closedMeanwhile(node: BlockNode): BlockError {
  return new BlockError("ESHUTDOWN", `node '${node.name}' was closed while it was being opened`, {
    node: node.name,
    operation: "open",
  });
}

interface OpenHow {
  readonly owned: boolean;
  readonly readOnly: boolean;
  readonly depth: number;
  readonly signal?: AbortSignal;
}

function signalOf(how: { readonly signal?: AbortSignal }): { readonly signal?: AbortSignal } {
  return how.signal === undefined ? {} : { signal: how.signal };
}
