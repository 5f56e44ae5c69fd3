import { isPromise } from "../contract/io.ts";
import { BlockError } from "../errors.ts";
import { deferred, type Deferred } from "../io/deferred.ts";
import type { BlockEdge, BlockNode, DrainGate, DrainNotice } from "./node.ts";
import { nodesAbove, nodesBelow, nodesInvolved } from "./topology.ts";

/** A part of the graph is quiet: nothing in flight, and nothing starts until `end`. */
export interface DrainedSection {
  /** Lets requests flow again. Idempotent. */
  end(): void;
}

interface Section {
  readonly node: BlockNode;
  readonly notice: DrainNotice;
  /** Parents that were told to be quiet, and have to be told when it is over. */
  readonly told: Set<BlockEdge>;
  /** Ends what {@link expedite} began: the section waits for requests that a device may be holding back. */
  readonly endExpediting: () => void;
}

/**
 * The drained sections of one graph. A section on a node holds back whatever enters at that node or above it; requests
 * that were admitted before run to their end, and so do the requests they cause below.
 */
export class DrainSections implements DrainGate {
  readonly #sections = new Set<Section>();
  readonly #idleWaiters = new Set<() => void>();
  #resumed: Deferred | undefined;

  /** See `BlockGraph.drain` and `BlockGraph.changing`. */
  async begin(node: BlockNode, duringChange: boolean, signal?: AbortSignal): Promise<DrainedSection> {
    const notice = { duringChange };
    const section: Section = { node, notice, told: new Set(), endExpediting: expedite(node) };
    this.#sections.add(section);
    try {
      const pending: Promise<void>[] = [];
      for (const edge of parentsAbove(node)) {
        const quiet = tell(section, edge);
        if (quiet !== undefined) pending.push(quiet);
      }
      const quiet = Promise.all(pending).then(() => this.idle(node, () => signal?.aborted === true));
      await (signal === undefined ? quiet : unlessAborted(quiet, signal, node));
    } catch (error) {
      this.#end(section);
      throw error;
    }
    return { end: () => this.#end(section) };
  }

  /** See `BlockGraph.idle`. */
  async idle(node: BlockNode, isGivenUp: () => boolean = () => false): Promise<void> {
    while (isBusy(node) && !isGivenUp()) {
      await new Promise<void>((resolve) => this.#idleWaiters.add(resolve));
    }
  }

  /** A parent that attaches while its node is drained has to be quiet from the start. */
  greet(edge: BlockEdge): void {
    for (const section of this.#sections) {
      // It has had no time to begin anything, so there is nothing to wait for.
      if (nodesAbove(section.node).has(edge.node)) tell(section, edge)?.catch(() => {});
    }
  }

  /**
   * Edges that came to another node inside a section of the one they left: whoever makes requests through them is quiet, and has
   * to stay so for the sections that hold where they are now.
   */
  follow(edges: readonly BlockEdge[]): void {
    for (const section of this.#sections) {
      for (const edge of edges) {
        if (!nodesBelow(edge.node).has(section.node)) continue;
        for (const parent of edge.owner === undefined ? [edge] : parentsAbove(edge.owner)) {
          // It is told as the others are; that it could not become quiet again is no reason to leave it where it was.
          try {
            tell(section, parent)?.catch(() => {});
          } catch {}
        }
      }
    }
  }

  /** A parent that is gone is not told any more. */
  forget(edge: BlockEdge): void {
    for (const section of this.#sections) section.told.delete(edge);
  }

  admission(node: BlockNode): Promise<void> | undefined {
    if (this.#sections.size === 0 || !this.#isHeld(node)) return undefined;
    this.#resumed ??= deferred();
    return this.#resumed.promise;
  }

  /** Whether a section holds the node and nothing is in flight there or above it. */
  isQuiet(node: BlockNode): boolean {
    return this.#isHeld(node) && !isBusy(node);
  }

  /** Nodes call it when their last request has ended. */
  readonly onIdle = (): void => {
    if (this.#idleWaiters.size === 0) return;
    const waiters = [...this.#idleWaiters];
    this.#idleWaiters.clear();
    for (const wake of waiters) wake();
  };

  /** Whether a section is on this node or on one below it. */
  #isHeld(node: BlockNode): boolean {
    const below = nodesBelow(node);
    for (const section of this.#sections) if (below.has(section.node)) return true;
    return false;
  }

  #end(section: Section): void {
    if (!this.#sections.delete(section)) return;
    section.endExpediting();
    // Everybody who waits looks again; those held by another section wait on.
    const resumed = this.#resumed;
    this.#resumed = undefined;
    resumed?.resolve();
    for (const edge of section.told) edge.onDrainEnd?.();
  }
}

/** See `BlockGraph.expedite`. */
export function expedite(node: BlockNode): () => void {
  let nodes = nodesInvolved(node);
  for (const member of nodes) member.beginDrain();
  return () => {
    const ending = nodes;
    nodes = new Set();
    for (const member of ending) member.endDrain();
  };
}

function unlessAborted(quiet: Promise<void>, signal: AbortSignal, { name }: BlockNode): Promise<void> {
  return new Promise((resolve, reject) => {
    const giveUp = (): void => {
      reject(
        new BlockError(
          "ECANCELED",
          `node '${name}' has not come to rest: what it was asked for is still under way`,
          {
            node: name,
            operation: "drain",
          },
        ),
      );
    };
    if (signal.aborted) giveUp();
    else signal.addEventListener("abort", giveUp, { once: true });
    quiet.then(resolve, reject).finally(() => signal.removeEventListener("abort", giveUp));
  });
}

function tell(section: Section, edge: BlockEdge): Promise<void> | undefined {
  if (edge.onDrainBegin === undefined || section.told.has(edge)) return undefined;
  section.told.add(edge);
  const quiet = edge.onDrainBegin(section.notice);
  return isPromise(quiet) ? quiet : undefined;
}

function parentsAbove(node: BlockNode): readonly BlockEdge[] {
  return [...nodesAbove(node)].flatMap(({ parents }) => [...parents]);
}

function isBusy(node: BlockNode): boolean {
  for (const member of nodesAbove(node)) if (member.inFlight > 0) return true;
  return false;
}
