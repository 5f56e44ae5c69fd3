import type { NamedBacking } from "../contract/device.ts";
import { BlockError } from "../errors.ts";
import type { BlockEdge, BlockNode } from "./node.ts";
import { swapDevice } from "./reopen.ts";
import type { GraphStructure, OpenedFrom } from "./structure.ts";
import { nodesBelow } from "./topology.ts";

/** See `BlockGraph.setBacking`. */
export async function setBacking(
  structure: GraphStructure,
  node: BlockNode,
  backing: BlockNode | null,
): Promise<void> {
  const edge = node.child("backing");
  if (backing !== null && nodesBelow(backing).has(node)) {
    throw new BlockError(
      "EINVAL",
      `node '${backing.name}' stands on '${node.name}' and cannot be its backing`,
      {
        node: node.name,
        operation: "setBacking",
      },
    );
  }
  const from = respecified(structure, node, backing);
  if ((edge?.node ?? null) === backing) return;
  const section = await structure.drain(node);
  try {
    if (edge !== undefined && backing !== null) await lead(structure, edge, backing);
    else if (edge !== undefined) await leaveBacking(structure, node, edge, from);
    else await swapDevice(structure, node, node.info.readOnly, from);
    structure.openedFrom.set(node, from);
  } finally {
    section.end();
  }
}

/** See `BlockGraph.changeBackingFile`. */
export async function changeBackingFile(
  structure: GraphStructure,
  node: BlockNode,
  backing: NamedBacking | null,
): Promise<void> {
  const context = { node: node.name, operation: "changeBackingFile" };
  if (node.info.readOnly) {
    throw new BlockError("EROFS", `node '${node.name}' is read-only; reopen it for writing`, context);
  }
  const section = await structure.drain(node);
  try {
    const { device } = node;
    if (device.changeBackingFile === undefined) {
      const { driver } = device.info;
      throw new BlockError(
        "ENOTSUP",
        `driver '${driver}' of node '${node.name}' cannot change the backing file it records`,
        context,
      );
    }
    await device.changeBackingFile(backing);
  } finally {
    section.end();
  }
}

/** See `BlockGraph.openBacking`. */
export async function openBacking(structure: GraphStructure, node: BlockNode): Promise<void> {
  if (node.info.namedBacking === undefined || node.child("backing") !== undefined) return;
  const opened = structure.openedFrom.get(node);
  if (opened === undefined) return;
  const { backing: _none, ...spec } = opened.spec;
  const from = { ...opened, spec };
  const section = await structure.drain(node);
  try {
    if (node.child("backing") !== undefined) return;
    await swapDevice(structure, node, node.info.readOnly, from);
    structure.openedFrom.set(node, from);
  } finally {
    section.end();
  }
}

/** The driver keeps its child, which leads to another node from now on. */
async function lead(structure: GraphStructure, edge: BlockEdge, to: BlockNode): Promise<void> {
  const from = edge.node;
  structure.move([edge], from, to);
  if (!from.owned) await structure.closeIfUnused(from);
}

/** The device has to be opened again without its backing child; it keeps the child if that fails. */
async function leaveBacking(
  structure: GraphStructure,
  node: BlockNode,
  edge: BlockEdge,
  from: OpenedFrom,
): Promise<void> {
  await swapDevice(structure, node, node.info.readOnly, from);
  await structure.unlinkChild(edge);
}

/** The same node with the other backing child: opening it again must find what it has now. */
function respecified(structure: GraphStructure, node: BlockNode, backing: BlockNode | null): OpenedFrom {
  const opened = structure.openedFrom.get(node);
  if (
    opened === undefined ||
    structure.registry.get(opened.spec.driver).options.fields["backing"] === undefined
  ) {
    throw new BlockError(
      "EINVAL",
      `driver '${node.info.driver}' of node '${node.name}' has no backing image`,
      {
        node: node.name,
        operation: "setBacking",
      },
    );
  }
  return { ...opened, spec: { ...opened.spec, backing: backing?.name ?? null } };
}
