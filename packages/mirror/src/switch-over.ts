import {
  type BlockEdge,
  BlockError,
  type BlockGraph,
  type BlockNode,
  type DrainedSection,
  NO_CLAIM,
} from "@blockmirror/block-driver";
import type { FoldInit } from "./commit/fold.ts";
import { everyStep } from "./every-step.ts";
import type { TargetBacking } from "./target-backing.ts";

/** What a {@link SwitchOver} works on. */
export interface SwitchOverInit {
  readonly graph: BlockGraph;
  /** The job's filter above the source; its parents are the guests. */
  readonly filter: BlockNode;
  readonly source: BlockEdge;
  readonly target: BlockEdge;
  /** Bytes of the disk. */
  readonly size: number;
  /** Copies what others than guests have written since. */
  readonly catchUp: () => Promise<void>;
  /** Whether that is still so. */
  readonly isCaughtUp: () => boolean;
  readonly backing: TargetBacking;
  readonly fold?: FoldInit;
  /** The node below the source whose users are led to the target, instead of the source's. */
  readonly replaces?: BlockNode;
}

/**
 * The end of a mirror: the target gets what it stands on, and the source's place in the graph. Until the whole transaction has
 * succeeded everything can be undone, and whoever was led to the target is held: what a guest wrote there would be lost on the
 * way back.
 */
export class SwitchOver {
  readonly #init: SwitchOverInit;
  /** Who was led to the target; undefined before the switch. */
  #moved: ReadonlySet<BlockEdge> | undefined;
  #held: DrainedSection | undefined;
  #madeReadOnly = false;

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
    const { filter, source, target, size, backing, replaces } = this.#init;
    const from = replaces ?? filter;
    if (target.info.size !== size && from.parents.size > 0) {
      throw new BlockError(
        "EINVAL",
        `the users of '${from.name}' cannot be switched to a disk of another size (${target.info.size} instead of ${size} bytes); cancel the job to keep the copy`,
        { node: from.name, operation: "complete" },
      );
    }
    if (replaces !== undefined) mustBeReplaceable(replaces, source.node, target.node);
    await backing.ready();
  }

  /** A successful job: what the target stands on, then the switch if that was asked for (mirror rules S29.1 to S29.3). */
  async run(requested: boolean): Promise<void> {
    const { graph, filter, source, target, backing, fold, replaces } = this.#init;
    if (fold?.record !== undefined) {
      await fold.record();
      await this.#leadHeld(filter);
      return;
    }
    await backing.finish(requested);
    if (!requested) return;
    if (replaces !== undefined) mustBeReplaceable(replaces, source.node, target.node);
    this.#held = await graph.drain(target.node);
    if (fold === undefined && source.info.readOnly && !target.info.readOnly) {
      graph.reclaim(target, NO_CLAIM);
      await graph.reopen(target.node, { readOnly: true });
      this.#madeReadOnly = true;
    }
    if (replaces === undefined) await this.#leadCaughtUp(filter);
    else await this.#leadHeld(replaces);
    await backing.switched();
  }

  /**
   * Leads the guests back and puts the target back as it was: this job, or another one of its transaction, could not be
   * switched. The guests come first: they are led back whatever else fails.
   * @throws BlockError whatever putting the target back meets.
   */
  async undo(): Promise<void> {
    const { graph, target, backing, fold } = this.#init;
    const moved = this.#moved;
    this.#moved = undefined;
    await everyStep([
      () => (moved === undefined ? undefined : this.#leadBack(moved)),
      () => fold?.unrecord?.(),
      () => backing.undo(),
      () => (this.#madeReadOnly ? graph.reopen(target.node, { readOnly: false }) : undefined),
    ]);
  }

  /** Lets those go who were led to the target. Idempotent. */
  letGo(): void {
    this.#held?.end();
  }

  async #leadBack(moved: ReadonlySet<BlockEdge>): Promise<void> {
    const { graph, filter, target, backing, replaces } = this.#init;
    const section = await graph.drain(target.node);
    try {
      backing.letGo();
      if (moved.size > 0) graph.replaceNow(target.node, replaces ?? filter, (edge) => !moved.has(edge));
    } finally {
      section.end();
    }
  }

  async #leadHeld(from: BlockNode): Promise<void> {
    const section = await this.#init.graph.drain(from);
    try {
      await this.#leadCaughtUp(from);
    } finally {
      section.end();
    }
  }

  /** At an instant at which nothing is under way: guests are held, but not other jobs that come to their end. */
  async #leadCaughtUp(from: BlockNode): Promise<void> {
    const { graph, filter, source, catchUp, isCaughtUp } = this.#init;
    const isBusy = (): boolean => [from, filter, source.node].some(({ inFlight }) => inFlight > 0);
    do {
      await catchUp();
      await graph.idle(from);
    } while (isBusy() || !isCaughtUp());
    this.#lead(from);
  }

  #lead(from: BlockNode): void {
    const { graph, target, fold } = this.#init;
    // From here on the guests use the target as they used the source; the job's own claim would exclude them.
    graph.reclaim(target, NO_CLAIM);
    fold?.letGo();
    const moved = new Set(from.parents);
    // A larger target may replace what nobody uses.
    if (moved.size > 0) graph.replaceNow(from, target.node);
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
