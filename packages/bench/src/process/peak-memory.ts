import { readFileSync } from "node:fs";

const POLL_MS = 10;

/** Highest resident size of a process so far, in bytes; `undefined` when it is gone or the system does not tell. */
function highWaterMark(pid: number): number | undefined {
  try {
    const [, kibibytes] = /^VmHWM:\s+(\d+) kB$/mu.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    return kibibytes === undefined ? undefined : Number(kibibytes) * 1024;
  } catch {
    return undefined;
  }
}

/**
 * Follows the peak memory of a process until {@link PeakMemory.stop}. The kernel keeps the high-water mark, so that a
 * peak between two looks is not missed; only growth in a process's last milliseconds is.
 */
export class PeakMemory {
  readonly #timer: NodeJS.Timeout;
  #peakBytes: number | undefined;

  constructor(pid: number) {
    this.#timer = setInterval(() => (this.#peakBytes = highWaterMark(pid) ?? this.#peakBytes), POLL_MS);
  }

  /** Bytes; `undefined` where `/proc` does not exist. */
  stop(): number | undefined {
    clearInterval(this.#timer);
    return this.#peakBytes;
  }
}
