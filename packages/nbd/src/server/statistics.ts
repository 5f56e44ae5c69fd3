import { Command } from "../protocol/constants.ts";

/** The kinds of requests that are counted. */
export type RequestKind = "read" | "write" | "flush" | "trim" | "writeZeroes" | "cache" | "blockStatus";

/** What has been done through an export since it was added, or by a client since it chose its export. */
export interface TrafficStatistics {
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
   * Requests by latency, in four steps per octave: element `n` counts those from `latencyBucketMs(n)` to below
   * `latencyBucketMs(n + 1)`. The first one counts everything below as well, the last one everything above.
   */
  readonly latencyHistogram: readonly number[];
}

/** Latencies are counted in sixteenths of a microsecond: the steps of the histogram begin below anything measurable. */
const TICKS_PER_MS = 16_000;
const BUCKETS = 128;
const MAX_TICKS = 2 ** 32 - 1;

/** Bucket of a latency: its octave, and which quarter of it. */
function bucketOf(latencyMs: number): number {
  const ticks = Math.min(MAX_TICKS, Math.max(4, latencyMs * TICKS_PER_MS)) >>> 0;
  const octave = 31 - Math.clz32(ticks);
  return octave * 4 + ((ticks >>> (octave - 2)) & 3);
}

/** Where bucket `index` of a latency histogram begins, in milliseconds. The buckets end at 268 seconds. */
export function latencyBucketMs(index: number): number {
  return ((4 + (index & 3)) * 2 ** ((index >> 2) - 2)) / TICKS_PER_MS;
}

/**
 * The latency in milliseconds that the fraction `quantile` (0 to 1) of the requests in a histogram did not exceed, within
 * a quarter of an octave; undefined for a histogram without requests. Subtract an earlier histogram to judge the time
 * in between.
 */
export function latencyQuantileMs(histogram: readonly number[], quantile: number): number | undefined {
  const total = histogram.reduce((sum, count) => sum + count, 0);
  if (total <= 0) return undefined;
  let missing = total * Math.min(1, Math.max(0, quantile));
  for (const [index, count] of histogram.entries()) {
    if (count <= 0) continue;
    if (missing <= count) {
      const start = latencyBucketMs(index);
      return start + (latencyBucketMs(index + 1) - start) * (missing / count);
    }
    missing -= count;
  }
  return latencyBucketMs(histogram.length);
}

/** Cheap counters of one export or client: additions only, no objects. */
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
    const bucket = bucketOf(latencyMs);
    this.#latencies[bucket] = (this.#latencies[bucket] ?? 0) + 1;
  }

  /** The counters as they are now. */
  snapshot(): TrafficStatistics {
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
