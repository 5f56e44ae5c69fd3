import { BlockError, skipFilters, type BlockGraph, type BlockNode } from "@blockmirror/block-driver";
import type { ResolvedTuning } from "./options.ts";

type Modes = Pick<ResolvedTuning, "sync" | "backingMode">;

/** What the target is to stand on when the job succeeds; undefined leaves it where it stands. */
export function backingForTarget({ sync, backingMode }: Modes, source: BlockNode): BlockNode | undefined {
  if (backingMode !== "source-chain" || sync !== "top") return undefined;
  return skipFilters(source).child("backing")?.node;
}

/** @throws BlockError `EINVAL` when the target is to stand on something and its format knows no backing images. */
export function mustTakeBacking(graph: BlockGraph, modes: Modes, source: BlockNode, target: BlockNode): void {
  if (backingForTarget(modes, source) === undefined) return;
  const { driver } = skipFilters(target).info;
  if (graph.registry.has(driver) && graph.registry.get(driver).options.fields["backing"] !== undefined)
    return;
  throw new BlockError(
    "EINVAL",
    `target '${target.name}' is ${driver}, which cannot stand on the backing image of '${source.name}'; use qcow2, or sync full`,
    { node: target.name, operation: "mirror" },
  );
}
