import { Command } from "../protocol/constants.ts";

/** The kinds of requests that are counted. */
export type RequestKind = "read" | "write" | "flush" | "trim" | "writeZeroes" | "cache" | "blockStatus";

/** What has been done through an export since it was added. */
export interface ExportStatistics {
  /** Requests answered, by kind; failed ones included. */
  readonly requests: Readonly<Record<RequestKind, number>>;
  /** Requests that were answered with an error. */
  readonly failedRequests: number;
  /** Bytes that reads returned. */
  readonly bytesRead: number;
  /** Bytes that writes carried. */
  readonly bytesWritten: number;
  /** Sum of the times from a request's arrival to its answer, over all requests. */
  readonly latencySumMs: number;
  /**
   * Requests by latency: element 0 counts those below 1 microsecond, element n those from 2^(n-1) to below 2^n
   * microseconds; the last one counts everything above.
   */
  readonly latencyHistogram: readonly number[];
}

const BUCKETS = 32;

/** Cheap counters of one export: additions only, no objects. */
export class RequestCounters {
  readonly #requests = new Float64Array(9);
  readonly #latencies = new Float64Array(BUCKETS);
  #failed = 0;
  #bytesRead = 0;
  #bytesWritten = 0;
  #latencySumMs = 0;

  /** Counts a request of that protocol command that took `latencyMs`. */
  count(command: number, length: number, failed: boolean, latencyMs: number): void {
    this.#requests[command] = (this.#requests[command] ?? 0) + 1;
    if (failed) this.#failed += 1;
    else if (command === Command.Read) this.#bytesRead += length;
    else if (command === Command.Write) this.#bytesWritten += length;
    this.#latencySumMs += latencyMs;
    const bucket = Math.min(BUCKETS - 1, 32 - Math.clz32(latencyMs * 1000));
    this.#latencies[bucket] = (this.#latencies[bucket] ?? 0) + 1;
  }

  /** The counters as they are now. */
  snapshot(): ExportStatistics {
    const of = (command: number): number => this.#requests[command] ?? 0;
    return {
      requests: {
        read: of(Command.Read),
        write: of(Command.Write),
        flush: of(Command.Flush),
        trim: of(Command.Trim),
        writeZeroes: of(Command.WriteZeroes),
        cache: of(Command.Cache),
        blockStatus: of(Command.BlockStatus),
      },
      failedRequests: this.#failed,
      bytesRead: this.#bytesRead,
      bytesWritten: this.#bytesWritten,
      latencySumMs: this.#latencySumMs,
      latencyHistogram: [...this.#latencies],
    };
  }
}
