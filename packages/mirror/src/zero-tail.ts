import type { BlockEdge } from "@blockmirror/block-driver";
import type { JobControl } from "@blockmirror/blockjob";
import type { Failures } from "./failures.ts";
import type { Silence } from "./silence.ts";

/** Bytes of one zero request: large, because it moves nothing; bounded, because it cannot be interrupted. */
const MAX_LENGTH = 1024 * 1024 * 1024;

/** What {@link zeroTail} works on. */
export interface ZeroTailInit {
  readonly target: BlockEdge;
  /** Where the source ends, in bytes. */
  readonly from: number;
  readonly failures: Failures;
  /** Told what the target is asked for, and of its answers. */
  readonly silence: Silence;
  /** Told that the target is being written to. */
  readonly onWrite: () => void;
}

/** Makes zero what a larger target has behind the end of the source. */
export async function zeroTail(job: JobControl, init: ZeroTailInit): Promise<void> {
  const { target, from, failures, silence, onWrite } = init;
  for (let at = from; at < target.info.size && !job.isForceCancelled;) {
    failures.check();
    await job.pausePoint();
    if (failures.delayRetry(job)) {
      await failures.awaitRetry(job);
      continue;
    }
    const length = Math.min(MAX_LENGTH, target.info.size - at);
    silence.begin("write");
    try {
      onWrite();
      await target.writeZeroes(at, length, { unmap: true });
      at += length;
    } catch (error) {
      failures.note("write", error);
    } finally {
      silence.end("write");
    }
    await job.sleep(0);
  }
}
