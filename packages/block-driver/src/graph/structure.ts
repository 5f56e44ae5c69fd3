import { BlockError } from "../errors.ts";
import type { DriverRegistry } from "../registry.ts";
import type { DeviceEvent } from "../contract/driver.ts";
import type { DeviceSpec } from "../contract/options.ts";
import { checkClaims } from "./claims.ts";
import { DrainSections, type DrainedSection } from "./drain.ts";
import type { OpenGate } from "./gate.ts";
import { BlockNode, type BlockEdge } from "./node.ts";
import type { Permission } from "../contract/permissions.ts";
import { hasPermission, permissionMask } from "./permissions.ts";
import { nodesBelow } from "./topology.ts";

const NODE_NAME = /^[A-Za-z#_][A-Za-z0-9#._-]{0,126}$/;

/** Told of what the devices of a graph report outside any request. Must not throw. */
export type DeviceEventListener = (node: BlockNode, event: DeviceEvent) => void;

/** What a node was opened from, kept so that it can be opened again. */
export interface OpenedFrom {
  readonly spec: DeviceSpec;
  /** How many names found inside images led here. */
  readonly depth: number;
}

/**
 * The nodes and edges of one graph, and the steps that every change of them is made of. Each step leaves the structure
 * as it was when it fails.
 */
export class GraphStructure {
  readonly registry: DriverRegistry;
  readonly gate: OpenGate;
  readonly nodes: Map<string, BlockNode>;
  readonly sections: DrainSections;
  /** Nodes made from a spec; filters put in by programs are not among them. */
  readonly openedFrom: WeakMap<BlockNode, OpenedFrom>;
  readonly #onDeviceEvent: DeviceEventListener;
  readonly #generated: { count: number };
  readonly #duringChange: boolean;

  /** @param shared the same nodes and edges, seen by somebody who is in the middle of changing them. */
  constructor(
    registry: DriverRegistry,
    gate: OpenGate,
    onDeviceEvent: DeviceEventListener,
    shared?: GraphStructure,
  ) {
    this.registry = registry;
    this.gate = gate;
    this.#onDeviceEvent = onDeviceEvent;
    this.nodes = shared?.nodes ?? new Map();
    this.sections = shared?.sections ?? new DrainSections();
    this.openedFrom = shared?.openedFrom ?? new WeakMap();
    this.#generated = shared === undefined ? { count: 0 } : shared.#generated;
    this.#duringChange = shared !== undefined;
  }

  /** See `BlockGraph.changing`. */
  changing(): GraphStructure {
    return new GraphStructure(this.registry, this.gate, this.#onDeviceEvent, this);
  }

  /** See `BlockGraph.drain`. */
  drain(node: BlockNode, signal?: AbortSignal): Promise<DrainedSection> {
    return this.sections.begin(node, this.#duringChange, signal);
  }

  /** Adds a node without a device yet. @throws BlockError for a bad name or one that is taken. */
  makeNode(name: string, kind: BlockNode["kind"], owned: boolean): BlockNode {
    if (!NODE_NAME.test(name)) {
      throw new BlockError(
        "EINVAL",
        `'${name}' is not a node name: a letter, then letters, digits and # . _ -`,
      );
    }
    if (this.nodes.has(name)) throw new BlockError("EEXIST", `a node named '${name}' exists already`);
    const node: BlockNode = new BlockNode({
      name,
      kind,
      owned,
      onIdle: this.sections.onIdle,
      onEvent: (event) => this.#onDeviceEvent(node, event),
    });
    this.nodes.set(name, node);
    return node;
  }

  /** A name for a node that was given none. */
  generateName(): string {
    this.#generated.count += 1;
    return `#block${String(this.#generated.count).padStart(3, "0")}`;
  }

  /** @throws BlockError `ESHUTDOWN` when the node has left the graph. */
  mustKnow(node: BlockNode): void {
    if (this.nodes.get(node.name) !== node) {
      throw new BlockError("ESHUTDOWN", `node '${node.name}' is not in this graph any more`, {
        node: node.name,
      });
    }
  }

  /** Adds an edge. @throws BlockError `EBUSY` when its claim conflicts. */
  link(edge: BlockEdge): BlockEdge {
    edge.node.link(edge, "parent");
    edge.owner?.link(edge, "child");
    try {
      checkClaims(edge.node);
      return edge;
    } catch (error) {
      this.unlink(edge);
      throw error;
    }
  }

  /** Takes an edge away; requests through it are refused from now on. */
  unlink(edge: BlockEdge): void {
    edge.retire();
    this.sections.forget(edge);
    edge.node.unlink(edge, "parent");
    edge.owner?.unlink(edge, "child");
    checkClaims(edge.node);
  }

  /** Takes the edge to a child away, and closes the child when it was opened inline and nobody uses it any more. */
  async unlinkChild(edge: BlockEdge): Promise<void> {
    this.unlink(edge);
    if (!edge.node.owned) await this.closeIfUnused(edge.node);
  }

  /** Leads edges from one node to another. @throws BlockError `EBUSY` or `EROFS`; nothing is changed then. */
  move(edges: readonly BlockEdge[], from: BlockNode, to: BlockNode): void {
    refuseReadOnly(edges, from, to);
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
      this.sections.follow(edges);
    } catch (error) {
      shift(to, from);
      checkClaims(to);
      checkClaims(from);
      throw error;
    }
  }

  /** Limits what a filter shares; `undo` is called when that conflicts. */
  limitShares(edge: BlockEdge, shares: readonly Permission[], undo: () => void): void {
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

  /** Closes a node without parents. */
  async closeIfUnused(node: BlockNode): Promise<void> {
    if (node.parents.size === 0) await this.closeTree(node);
  }

  /** Closes a node without parents, then the inline children that nobody else uses; the first failure is thrown last. */
  async closeTree(node: BlockNode): Promise<void> {
    const failures: unknown[] = [];
    this.nodes.delete(node.name);
    // Closing waits for the requests that are in flight: nobody may hold them back.
    const released = nodesBelow(node);
    for (const member of released) member.beginDrain();
    try {
      await node.shut();
    } catch (error) {
      failures.push(error);
    } finally {
      for (const member of released) member.endDrain();
    }
    for (const edge of node.children) {
      try {
        await this.unlinkChild(edge);
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}

/** A writer that comes to a read-only node would find out only by its next write. */
function refuseReadOnly(edges: readonly BlockEdge[], from: BlockNode, to: BlockNode): void {
  if (!to.info.readOnly || from.info.readOnly) return;
  const writer = edges.find(
    ({ uses }) => hasPermission(uses, "write") || hasPermission(uses, "write-unchanged"),
  );
  if (writer === undefined) return;
  throw new BlockError(
    "EROFS",
    `node '${from.name}' cannot be replaced by '${to.name}', which is read-only: ${writer.parentName} writes; reopen it for writing first`,
    { node: to.name, operation: "replace" },
  );
}
