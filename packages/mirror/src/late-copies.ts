import { BlockError, type BlockNode } from "@blockmirror/block-driver";
import type { JobControl } from "@blockmirror/blockjob";
import type { MirrorParts } from "./mirror-parts.ts";

/** While it is finalized a job looks again so often whether it can go on, in milliseconds. */
const REST_MS = 10;
/** And so often at most while the guests are held for the switch. */
const MOST_TRIES = 100;

/**
 * A rest while the job is finalized. It must not park: the section that holds it may be that of another job, which ends with it.
 * All others wait for its end.
 */
export function rest({ clock }: JobControl): Promise<void> {
  return new Promise((resolve) => void clock.schedule(REST_MS, resolve));
}

/**
 * Guests are held, but other jobs that end at the same time are not: what one of them copied to the source of this one, after
 * this one had caught up, is still to be copied.
 * @throws whatever that meets; BlockError `EIO` when errors that are ignored do not end.
 */
export async function copyFromOthers(
  parts: Pick<MirrorParts, "control" | "convergence" | "engine" | "failures" | "flush">,
  { name }: BlockNode,
): Promise<void> {
  const { control: job, convergence, engine, failures, flush } = parts;
  let tries = 0;
  if (job === undefined) return;
  while (!(convergence.isClean() && (await flush.run()))) {
    failures.check();
    const ended = engine.operationsEnded;
    await engine.fill(() => !failures.any);
    await engine.waitForAll();
    if (!failures.delayRetry(job) && engine.operationsEnded !== ended) continue;
    tries += 1;
    if (tries > MOST_TRIES) {
      throw new BlockError("EIO", `the last of what was written could not be copied to '${name}'`, {
        node: name,
        operation: "write",
      });
    }
    await rest(job);
  }
}
