import {
  ALL_PERMISSIONS,
  BACKING_CLAIM,
  backingChain,
  type BlockEdge,
  BlockError,
  type BlockGraph,
  type BlockNode,
  NO_CLAIM,
  skipFilters,
} from "@blockmirror/block-driver";

/**
 * The layers from a commit's top down to its base. `layers` holds the images that are folded, from the top down.
 * @throws BlockError `EINVAL` when the base is not below the top.
 */
export function layersAbove(top: BlockNode, base: BlockNode): readonly BlockNode[] {
  const chain = backingChain(top).toReversed();
  const at = chain.indexOf(skipFilters(base));
  if (at > 0) return chain.slice(0, at);
  throw new BlockError(
    "EINVAL",
    `'${base.name}' is not in the backing chain of '${top.name}', which is ${chain.map(({ name }) => name).join(" on ")}`,
    { node: top.name, operation: "commit" },
  );
}

/**
 * Holds a chain for a commit: what the base shows below its overlays changes, so nobody else may rely on it, neither on
 * the base nor on an image between. The overlays themselves do not notice: what is written is what they show.
 */
export class ChainHold {
  readonly #graph: BlockGraph;
  readonly #relaxed: BlockEdge[] = [];
  readonly #guards: BlockEdge[] = [];

  /** @throws BlockError `EBUSY` when somebody relies on a node of the chain; nothing is held then. */
  constructor(graph: BlockGraph, layers: readonly BlockNode[], jobName: string) {
    this.#graph = graph;
    try {
      for (const [index, layer] of layers.entries()) {
        const below = layer.child("backing");
        if (below === undefined) throw new TypeError(`node '${layer.name}' has no backing node`);
        graph.reclaim(below, { uses: BACKING_CLAIM.uses, shares: ALL_PERMISSIONS });
        this.#relaxed.push(below);
        // The base has the job's own claim.
        if (index === layers.length - 1) continue;
        this.#guards.push(
          graph.attach(below.node, {
            name: jobName,
            uses: ["write"],
            shares: ["read", "write-unchanged"],
          }),
        );
      }
    } catch (error) {
      // The guards first: the layers' own claims do not go with them.
      for (const guard of this.#guards) void graph.detach(guard);
      this.#restore();
      throw error;
    }
  }

  /** The layers claim nothing any more: others change what is below them from now on. */
  letGo(): void {
    for (const edge of this.#relaxed) this.#graph.reclaim(edge, NO_CLAIM);
  }

  /** Ends the hold; `restored` makes the layers claim again what they claimed before. */
  async end(restored: boolean): Promise<void> {
    for (const guard of this.#guards.splice(0)) await this.#graph.detach(guard);
    if (restored) this.#restore();
  }

  #restore(): void {
    for (const edge of this.#relaxed.splice(0)) this.#graph.reclaim(edge, BACKING_CLAIM);
  }
}
