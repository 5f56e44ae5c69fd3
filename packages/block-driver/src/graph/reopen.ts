import type { BlockDevice } from "../contract/device.ts";
import { BlockError, toBlockError } from "../errors.ts";
import { checkClaims, childClaim } from "./claims.ts";
import { checkDevice, refuseSharedStorage } from "./check-device.ts";
import type { BlockEdge, BlockNode } from "./node.ts";
import { openDevice } from "./open-node.ts";
import type { Permission } from "../contract/permissions.ts";
import { hasPermission, permissionMask } from "./permissions.ts";
import { attachStoredBitmaps } from "./stored-bitmaps.ts";
import type { GraphStructure, OpenedFrom } from "./structure.ts";

/** See `BlockGraph.reopen`. */
export async function reopenNode(
  structure: GraphStructure,
  node: BlockNode,
  readOnly: boolean,
): Promise<void> {
  // Parents of a child need not be above the node that is reopened: every node is drained for itself.
  const section = await structure.drain(node);
  try {
    structure.mustKnow(node);
    if (readOnly) await toReadOnly(structure, node);
    else await toWritable(structure, node);
  } finally {
    section.end();
  }
}

/** From the bottom up, so that every layer finds what it needs; a failure takes back what was done. */
async function toWritable(structure: GraphStructure, node: BlockNode): Promise<void> {
  if (!node.info.readOnly) return;
  const reopened: BlockNode[] = [];
  const undoClaims = claimChildren(node, false);
  try {
    for (const edge of storageEdges(node)) {
      if (!edge.node.info.readOnly) continue;
      await reopenNode(structure, edge.node, false);
      reopened.push(edge.node);
    }
    await swapDevice(structure, node, false);
  } catch (error) {
    undoClaims();
    for (const child of reopened.toReversed()) await reopenNode(structure, child, true).catch(() => {});
    throw error;
  }
}

/** From the top down: what was written has to be stored before the layer below stops taking writes. */
async function toReadOnly(structure: GraphStructure, node: BlockNode): Promise<void> {
  if (node.info.readOnly) return;
  for (const edge of node.parents) {
    if (!isWriter(edge)) continue;
    throw new BlockError(
      "EBUSY",
      `node '${node.name}' cannot become read-only: ${edge.parentName} writes to it`,
      { node: node.name, operation: "reopen" },
    );
  }
  await swapDevice(structure, node, true);
  claimChildren(node, true);
  for (const { node: child } of storageEdges(node)) {
    if (child.owned || child.info.readOnly || [...child.parents].some(isWriter)) continue;
    // The node itself is read-only by now, and that is what was asked for; a child that can only write does no harm.
    await reopenNode(structure, child, true).catch((error: unknown) => {
      if (child.fence !== undefined) throw error;
    });
  }
}

const WRITING: readonly Permission[] = ["write", "write-unchanged", "resize"];

function isWriter({ uses }: BlockEdge): boolean {
  return WRITING.some((permission) => hasPermission(uses, permission));
}

/** The children that hold the node's bytes; backing images are somebody else's. */
function storageEdges(node: BlockNode): readonly BlockEdge[] {
  return [...node.children].filter(({ role }) => role !== "backing");
}

/** Changes what the node claims from its children to suit its mode. @returns what puts the old claims back. */
function claimChildren(node: BlockNode, readOnly: boolean): () => void {
  const undo: (() => void)[] = [];
  const undoAll = (): void => {
    for (const step of undo.toReversed()) step();
  };
  for (const edge of storageEdges(node)) {
    // A filter's claim is what its parents claim.
    if (edge.role === undefined || edge.role === "filtered") continue;
    const { uses, shares, sharesAtMost } = edge;
    const claim = childClaim(edge.role, readOnly);
    undo.push(() => {
      edge.reclaim(uses, shares);
      edge.sharesAtMost = sharesAtMost;
      checkClaims(edge.node);
    });
    edge.sharesAtMost = permissionMask(claim.shares);
    edge.reclaim(permissionMask(claim.uses), permissionMask(claim.shares));
    try {
      checkClaims(edge.node);
    } catch (error) {
      undoAll();
      throw error;
    }
  }
  return undoAll;
}

/**
 * Gives the node another device for the same storage. The caller holds it drained.
 * @throws BlockError with the old device in place; or with the node fenced when that could not be had again.
 */
export async function swapDevice(
  structure: GraphStructure,
  node: BlockNode,
  readOnly: boolean,
  from: OpenedFrom | undefined = structure.openedFrom.get(node),
): Promise<void> {
  refuseBusyBitmaps(node);
  if (!readOnly) refuseSharedStorage(node, structure.nodes.values(), false);
  const old = node.device;
  const wasReadOnly = node.info.readOnly;
  if (old.reopen !== undefined) {
    const device = await old.reopen(readOnly);
    await settleInto(structure, node, device, readOnly);
    if (device !== old) await closeReplaced(node, old);
  } else if (from === undefined || structure.registry.get(from.spec.driver).kind === "protocol") {
    throw new BlockError(
      "ENOTSUP",
      `driver '${old.info.driver}' of node '${node.name}' cannot be reopened; close it and open it again`,
      { node: node.name, operation: "reopen" },
    );
  } else if (wasReadOnly) {
    const device = await openAgain(structure, node, from, readOnly);
    await settleInto(structure, node, device, readOnly);
    await closeReplaced(node, old);
  } else {
    await closeThenOpen(structure, node, from, readOnly);
  }
}

/** A device that writes has to store everything before another one may look at it. */
async function closeThenOpen(
  structure: GraphStructure,
  node: BlockNode,
  from: OpenedFrom,
  readOnly: boolean,
): Promise<void> {
  const before = structure.openedFrom.get(node) ?? from;
  // What cannot be stored is found out while there is still a device: one that cannot be closed leaves none.
  await node.device.flush?.();
  try {
    await node.device.close();
  } catch (error) {
    throw fence(node, error);
  }
  try {
    await settleInto(structure, node, await openAgain(structure, node, from, readOnly), readOnly);
  } catch (error) {
    try {
      await settleInto(structure, node, await openAgain(structure, node, before, false), false);
    } catch (second) {
      throw fence(node, second);
    }
    throw error;
  }
}

async function openAgain(
  structure: GraphStructure,
  node: BlockNode,
  { spec, depth }: OpenedFrom,
  readOnly: boolean,
): Promise<BlockDevice> {
  const attached: BlockEdge[] = [];
  try {
    return await openDevice(structure, node, { spec, readOnly, depth }, attached);
  } catch (error) {
    for (const edge of attached) await structure.unlinkChild(edge).catch(() => {});
    throw error;
  }
}

async function settleInto(
  structure: GraphStructure,
  node: BlockNode,
  device: BlockDevice,
  readOnly: boolean,
): Promise<void> {
  const { device: old } = node;
  const wasReadOnly = node.info.readOnly;
  node.forgetStoredBitmaps();
  node.own(device, readOnly);
  try {
    checkDevice(node, structure.nodes.values());
    await attachStoredBitmaps(node);
  } catch (error) {
    node.forgetStoredBitmaps();
    node.own(old, wasReadOnly);
    if (device !== old) await device.close().catch(() => {});
    throw error;
  }
}

/** Nothing depends on how the replaced device ends: it only read, or handed over what it had. */
async function closeReplaced(node: BlockNode, old: BlockDevice): Promise<void> {
  try {
    await old.close();
  } catch (error) {
    node.report({
      type: "warning",
      message: `closing the replaced device: ${toBlockError(error, { node: node.name, operation: "close" }).message}`,
    });
  }
}

function fence(node: BlockNode, error: unknown): BlockError {
  const cause = toBlockError(error, { node: node.name, operation: "reopen" });
  node.refuseFurther(cause);
  return cause;
}

function refuseBusyBitmaps(node: BlockNode): void {
  for (const bitmap of node.dirtyBitmaps) {
    if (!bitmap.persistent || !bitmap.busy) continue;
    throw new BlockError(
      "EBUSY",
      `node '${node.name}' cannot be reopened while its dirty bitmap ${bitmap.label} is in use`,
      { node: node.name, operation: "reopen" },
    );
  }
}
