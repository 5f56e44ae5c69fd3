import { BlockError } from "../errors.ts";
import type { BlockEdge, BlockNode } from "./node.ts";
import type { GraphStructure } from "./structure.ts";
import { nodesBelow } from "./topology.ts";

/** See `BlockGraph.replaceNow`. */
export function replaceNow(
  structure: GraphStructure,
  from: BlockNode,
  to: BlockNode,
  keep: (edge: BlockEdge) => boolean = () => false,
): void {
  structure.mustKnow(from);
  structure.mustKnow(to);
  if (!structure.sections.isQuiet(from))
    throw new TypeError(`node '${from.name}' must be drained before it is replaced`);
  const subtree = nodesBelow(to);
  const moving = [...from.parents].filter(
    (edge) => !keep(edge) && (edge.owner === undefined || !subtree.has(edge.owner)),
  );
  mustFitInto(moving, from, to);
  structure.move(moving, from, to);
}

/** What lies beyond the end of an overlay does not show in it. */
function mustFitInto(moving: readonly BlockEdge[], from: BlockNode, to: BlockNode): void {
  if (from.size === to.size) return;
  const least = Math.min(from.size, to.size);
  const isUnaware = ({ role, owner }: BlockEdge): boolean =>
    role === "backing" && owner !== undefined && owner.size <= least;
  if (moving.length > 0 && moving.every(isUnaware)) return;
  throw new BlockError(
    "EINVAL",
    `node '${from.name}' (${from.size} bytes) cannot be replaced by '${to.name}' (${to.size} bytes): sizes differ`,
    { node: from.name, operation: "replace" },
  );
}
