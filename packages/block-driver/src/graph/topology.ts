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

/** Every node that a request may be in which enters at `node` or above it. */
export function nodesInvolved(node: BlockNode): ReadonlySet<BlockNode> {
  const found = new Set(nodesAbove(node));
  for (const member of found) for (const edge of member.children) found.add(edge.node);
  return found;
}

/** The first node at or below `node` that is not a filter: filters present the data of their child unchanged. */
export function skipFilters(node: BlockNode): BlockNode {
  let current = node;
  while (current.kind === "filter") {
    const filtered = current.child("filtered");
    if (filtered === undefined) break;
    current = filtered.node;
  }
  return current;
}

/** The images of a node's backing chain from the bottom up, without filters: the last one is `node`, or what it filters. */
export function backingChain(node: BlockNode): readonly BlockNode[] {
  const chain: BlockNode[] = [];
  for (let next: BlockNode | undefined = node; next !== undefined;) {
    const image = skipFilters(next);
    chain.push(image);
    next = image.child("backing")?.node;
  }
  return chain.toReversed();
}
