import { readFileSync } from "node:fs";

const POLL_MS = 10;

/** Memory of a process as `/proc` names it, in bytes; `undefined` when it is gone or the system does not tell. */
function memoryOf(pid: number, name: "VmHWM" | "VmRSS"): number | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    const [, kibibytes] = new RegExp(`^${name}:\\s+(\\d+) kB$`, "mu").exec(status) ?? [];
    return kibibytes === undefined ? undefined : Number(kibibytes) * 1024;
  } catch {
    return undefined;
  }
}

/** Resident size of a process now, in bytes; `undefined` where `/proc` does not exist. */
export function residentBytes(pid: number): number | undefined {
  return memoryOf(pid, "VmRSS");
}

/**
 * Follows the peak memory of a process until {@link PeakMemory.stop}. The kernel keeps the high-water mark, so that a
 * peak between two looks is not missed; only growth in a process's last milliseconds is.
 */
export class PeakMemory {
  readonly #timer: NodeJS.Timeout;
  #peakBytes: number | undefined;

  constructor(pid: number) {
    this.#timer = setInterval(() => (this.#peakBytes = memoryOf(pid, "VmHWM") ?? this.#peakBytes), POLL_MS);
  }

  /** Bytes; `undefined` where `/proc` does not exist. */
  stop(): number | undefined {
    clearInterval(this.#timer);
    return this.#peakBytes;
  }
}
