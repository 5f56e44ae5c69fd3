import type { BlockNode } from "./node.ts";

/** The node and every node that reaches it: those whose requests can end up there. */
export function nodesAbove(node: BlockNode): ReadonlySet<BlockNode> {
  const found = new Set([node]);
  for (const member of found) {
    for (const edge of member.parents) if (edge.owner !== undefined) found.add(edge.owner);
  }
  return found;
}

/** The node and every node it reaches. */
export function nodesBelow(node: BlockNode): ReadonlySet<BlockNode> {
  const found = new Set([node]);
  for (const member of found) for (const edge of member.children) found.add(edge.node);
  return found;
}
