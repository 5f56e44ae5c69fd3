import {
  ALL_PERMISSIONS,
  BlockError,
  skipFilters,
  type BlockEdge,
  type BlockGraph,
  type BlockNode,
} from "@blockmirror/block-driver";
import type { FoldInit } from "./commit/fold.ts";
import type { ResolvedTuning } from "./options.ts";
import { backingForTarget } from "./target-backing.ts";

/** What a {@link SwitchOver} works on. */
export interface SwitchOverInit {
  readonly graph: BlockGraph;
  /** The job's filter above the source; its parents are the guests. */
  readonly filter: BlockNode;
  readonly source: BlockEdge;
  readonly target: BlockEdge;
  /** Bytes of the disk. */
  readonly size: number;
  readonly tuning: ResolvedTuning;
  readonly fold: FoldInit | undefined;
  /** The node below the source whose users are led to the target, instead of the source's. */
  readonly replaces: BlockNode | undefined;
}

/**
 * The end of a mirror: the target gets what it stands on, and the source's place in the graph. Everything that can fail
 * comes before the instant of the switch, and until the whole transaction has succeeded the switch can be undone.
 */
export class SwitchOver {
  readonly #init: SwitchOverInit;
  /** Who was led to the target; undefined before the switch. */
  #moved: ReadonlySet<BlockEdge> | undefined;

  constructor(init: SwitchOverInit) {
    this.#init = init;
  }

  /** Whether the guests are on the target. */
  get done(): boolean {
    return this.#moved !== undefined;
  }

  /**
   * What `complete()` has to check and open (mirror rule S27.2).
   * @throws BlockError `EINVAL` when guests would find a disk of another size, or the node to be replaced is not below the
   * source any more; what opening the target's backing file meets.
   */
  async ready(): Promise<void> {
    const { graph, filter, source, target, size, tuning, replaces } = this.#init;
    if (target.info.size !== size && filter.parents.size > 0) {
      throw new BlockError(
        "EINVAL",
        `the users of '${filter.name}' cannot be switched to a disk of another size (${target.info.size} instead of ${size} bytes); cancel the job to keep the copy`,
        { node: filter.name, operation: "complete" },
      );
    }
    if (replaces !== undefined) mustBeReplaceable(replaces, source.node, target.node);
    if (tuning.backingMode === "open-chain") await graph.openBacking(skipFilters(target.node));
  }

  /** A successful job: what the target stands on, then the switch if that was asked for (mirror rules S29.1 to S29.3). */
  async run(requested: boolean): Promise<void> {
    const { graph, filter, source, target, tuning, fold, replaces } = this.#init;
    if (fold === undefined) {
      const backing = backingForTarget(tuning, source.node);
      if (backing !== undefined) await graph.setBacking(skipFilters(target.node), backing);
    } else if (fold.record !== undefined) {
      await fold.record();
      await this.#leadHeld(filter);
      return;
    }
    if (!requested) return;
    // From here on the guests use the target as they used the source; the job's own claim would exclude them.
    graph.reclaim(target, { uses: [], shares: ALL_PERMISSIONS });
    if (fold === undefined && source.info.readOnly && !target.info.readOnly) {
      await graph.reopen(target.node, { readOnly: true });
    }
    if (replaces === undefined) this.#lead(filter);
    else {
      mustBeReplaceable(replaces, source.node, target.node);
      await this.#leadHeld(replaces);
    }
  }

  /** Leads the guests back: another job of the transaction could not be switched. They are held still. */
  async undo(): Promise<void> {
    const { graph, filter, target, replaces } = this.#init;
    const moved = this.#moved;
    if (moved === undefined) return;
    this.#moved = undefined;
    const section = await graph.drain(target.node);
    try {
      graph.replaceNow(target.node, replaces ?? filter, (edge) => !moved.has(edge));
    } finally {
      section.end();
    }
  }

  async #leadHeld(from: BlockNode): Promise<void> {
    const section = await this.#init.graph.drain(from);
    try {
      this.#lead(from);
    } finally {
      section.end();
    }
  }

  #lead(from: BlockNode): void {
    const { graph, target, size, fold } = this.#init;
    graph.reclaim(target, { uses: [], shares: ALL_PERMISSIONS });
    fold?.letGo();
    const moved = new Set(from.parents);
    // A larger target is only let here when there is nobody to be switched.
    if (target.info.size === size) graph.replaceNow(from, target.node);
    this.#moved = moved;
  }
}

/**
 * Only filters may be between the source and the node that the target takes the place of: what they show is what that node
 * holds, so that nobody sees the data change.
 * @throws BlockError `EINVAL`.
 */
export function mustBeReplaceable(replaces: BlockNode, source: BlockNode, target: BlockNode): void {
  for (let at: BlockNode | undefined = source; at !== undefined; at = at.child("filtered")?.node) {
    if (at === replaces) return;
  }
  throw new BlockError(
    "EINVAL",
    `Cannot replace '${replaces.name}' by a node mirrored from '${source.name}', because it cannot be guaranteed that doing so would not lead to an abrupt change of visible data`,
    { node: target.name, operation: "mirror" },
  );
}
