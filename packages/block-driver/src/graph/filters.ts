import type { BlockChild, BlockDevice } from "../contract/device.ts";
import type { Permission } from "../contract/permissions.ts";
import { checkClaims, NO_CLAIM } from "./claims.ts";
import { BlockEdge, type BlockNode } from "./node.ts";
import { ALL_PERMISSIONS, permissionMask } from "./permissions.ts";
import { replaceNow } from "./replace.ts";
import type { GraphStructure } from "./structure.ts";

/** A filter that a program puts above a node: see `BlockGraph.insertFilter`. */
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

/** See `BlockGraph.insertFilter`. */
export async function insertFilter(
  structure: GraphStructure,
  node: BlockNode,
  init: FilterInit,
): Promise<BlockNode> {
  structure.mustKnow(node);
  const section = await structure.drain(node);
  try {
    const filter = structure.makeNode(init.nodeName, "filter", true);
    const edge = new BlockEdge(node, { name: `node '${filter.name}'`, ...NO_CLAIM }, structure.sections, {
      owner: filter,
      role: "filtered",
    });
    try {
      filter.own(init.device(edge), false);
      const moving = [...node.parents].filter((parent) => init.keepBelow?.(parent) !== true);
      structure.link(edge);
      structure.move(moving, node, filter);
      // Only now: until they had moved, the filter's own parents would have been excluded.
      structure.limitShares(edge, init.shares ?? ALL_PERMISSIONS, () => structure.move(moving, filter, node));
    } catch (error) {
      structure.unlink(edge);
      structure.nodes.delete(filter.name);
      await filter.shut().catch(() => {});
      throw error;
    }
    return filter;
  } finally {
    section.end();
  }
}

/** See `BlockGraph.removeFilter`. */
export async function removeFilter(
  structure: GraphStructure,
  filter: BlockNode,
  to: BlockNode | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  const child = filter.child("filtered");
  if (filter.kind !== "filter" || child === undefined) {
    throw new TypeError(`node '${filter.name}' is not a filter`);
  }
  structure.mustKnow(child.node);
  const section = await structure.drain(child.node, signal);
  try {
    // The filter's parents come to the node it filtered, where it may have excluded them.
    const { sharesAtMost } = child;
    child.sharesAtMost = permissionMask(ALL_PERMISSIONS);
    try {
      checkClaims(filter);
      replaceNow(structure, filter, to ?? child.node);
    } catch (error) {
      child.sharesAtMost = sharesAtMost;
      checkClaims(filter);
      throw error;
    }
    await structure.closeTree(filter);
  } finally {
    section.end();
  }
}
