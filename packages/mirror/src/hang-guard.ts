import { BlockError, type BlockGraph, type BlockNode } from "@blockmirror/block-driver";
import type { JobControl } from "@blockmirror/blockjob";

/** So long after a forced cancel what its devices have in hand is still waited for, in milliseconds. */
const PATIENCE_MS = 4500;
/** And so long, at least, what the job leaves behind. */
const LEAVE_MS = 500;

/**
 * Lets a job that was thrown away end although a device hangs, within five seconds. The work goes on by itself then, if ever, and
 * sees at its next step that the job is over.
 */
export class HangGuard {
  readonly #abandoned: Promise<unknown>[] = [];
  #control: JobControl | undefined;
  #cancelledAtMs: number | undefined;

  /** Some work was not waited for: requests of the job may still reach its nodes. */
  get hasAbandoned(): boolean {
    return this.#abandoned.length > 0;
  }

  /** Waits for `work`, or until some seconds after a forced cancel. Rejects as it does. */
  async wait(job: JobControl, work: Promise<void>): Promise<void> {
    const { forceCancelSignal: signal } = job;
    this.#control = job;
    let stopWaiting: (() => void) | undefined;
    const patience = new Promise<"abandoned">((resolve) => {
      const begin = (): void => {
        stopWaiting = job.clock.schedule(this.#restMs(job, 0), () => resolve("abandoned"));
      };
      stopWaiting = () => signal.removeEventListener("abort", begin);
      if (signal.aborted) begin();
      else signal.addEventListener("abort", begin, { once: true });
    });
    try {
      if ((await Promise.race([work, patience])) === "abandoned") this.#abandoned.push(work);
    } finally {
      stopWaiting?.();
    }
  }

  /** Waits for what the job does last; false when a forced cancel leaves no time for that. Rejects as it does. */
  async endsInTime(leaving: Promise<void>): Promise<boolean> {
    const job = this.#control;
    if (job?.isForceCancelled !== true) {
      await leaving;
      return true;
    }
    let stopWaiting: (() => void) | undefined;
    const patience = new Promise<false>((resolve) => {
      stopWaiting = job.clock.schedule(this.#restMs(job, LEAVE_MS), () => resolve(false));
    });
    try {
      return await Promise.race([leaving.then(() => true), patience]);
    } finally {
      stopWaiting?.();
    }
  }

  /**
   * Takes the filter of the job away. Where requests hang, of guests or of the job, that cannot be done before they have ended;
   * nobody is held until then.
   */
  async removeFilter(graph: BlockGraph, filter: BlockNode, below: BlockNode): Promise<void> {
    const job = this.#control;
    if (job?.isForceCancelled !== true) return graph.removeFilter(filter);
    const giveUp = new AbortController();
    const unschedule = job.clock.schedule(LEAVE_MS / 2, () => giveUp.abort());
    try {
      await graph.removeFilter(filter, undefined, { signal: giveUp.signal });
      return undefined;
    } catch (error) {
      if (!giveUp.signal.aborted) throw error;
    } finally {
      unschedule();
    }
    await this.ended();
    await graph.idle(below);
    return graph.removeFilter(filter);
  }

  /** Resolves when all that was abandoned has come to its end, however. */
  async ended(): Promise<void> {
    await Promise.allSettled(this.#abandoned);
  }

  #restMs({ clock }: JobControl, leastMs: number): number {
    const nowMs = clock.now();
    this.#cancelledAtMs ??= nowMs;
    return Math.max(leastMs, this.#cancelledAtMs + PATIENCE_MS - nowMs);
  }
}

/** What a job that was thrown away says of a node that it could not wait for. */
export function hangs(node: BlockNode, kept: string): BlockError {
  return new BlockError(
    "ETIMEDOUT",
    `'${node.name}' hangs: what it was asked for may still take effect; ${kept} until it answers`,
    { node: node.name, operation: "cancel" },
  );
}

/** What goes wrong when nobody waits for it any more is told by the node. */
export function reportLate(node: BlockNode, leaving: Promise<void>): void {
  leaving.catch((error: unknown) => {
    const message = error instanceof Error ? error.message : String(error);
    node.report({
      type: "warning",
      message: `what a cancelled job changed could not be put back: ${message}`,
    });
  });
}
