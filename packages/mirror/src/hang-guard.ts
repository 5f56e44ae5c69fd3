import { BlockError, type BlockNode } from "@blockmirror/block-driver";
import type { JobControl } from "@blockmirror/blockjob";

/** So long after a forced cancel what the target has in hand is still waited for, in milliseconds. */
const PATIENCE_MS = 5000;

/**
 * Lets a job that was thrown away end although its target hangs. The work goes on by itself then, if ever, and sees at its
 * next step that the job is over.
 */
export class HangGuard {
  readonly #abandoned: Promise<unknown>[] = [];

  /** Some work was not waited for: requests of the job may still reach its target. */
  get hasAbandoned(): boolean {
    return this.#abandoned.length > 0;
  }

  /** Waits for `work`, or until five seconds after a forced cancel. Rejects as it does. */
  async wait(job: JobControl, work: Promise<void>): Promise<void> {
    const { clock, forceCancelSignal: signal } = job;
    let stopWaiting: (() => void) | undefined;
    const patience = new Promise<"abandoned">((resolve) => {
      const begin = (): void => {
        const unschedule = clock.schedule(PATIENCE_MS, () => resolve("abandoned"));
        stopWaiting = unschedule;
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

  /** Resolves when all that was abandoned has come to its end, however. */
  async ended(): Promise<void> {
    await Promise.allSettled(this.#abandoned);
  }
}

/** What a job that was thrown away says of a target that it could not wait for. */
export function hangs(target: BlockNode): BlockError {
  return new BlockError(
    "ETIMEDOUT",
    `target '${target.name}' hangs: what it was asked to write may still reach it; nobody else can write to it until it answers`,
    { node: target.name, operation: "cancel" },
  );
}
