import { latencyBucketMs, latencyQuantileMs, type TrafficStatistics } from "@blockmirror/nbd";
import type { ExportSnapshot, ExportSource } from "../../src/exports/export-source.ts";

/** Exports whose traffic a test makes up. */
export class FakeExports implements ExportSource {
  readonly latencyMs = latencyQuantileMs;
  exports: readonly ExportSnapshot[] = [];
  readonly #listeners = new Set<() => void>();

  list(): readonly ExportSnapshot[] {
    return this.exports;
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Has other exports from now on, and says so. */
  become(...exports: readonly ExportSnapshot[]): void {
    this.exports = exports;
    for (const listener of this.#listeners) listener();
  }

  get listenerCount(): number {
    return this.#listeners.size;
  }
}

/** Traffic of reads and writes of one latency each. */
export function traffic(changes: {
  readonly bytesRead?: number;
  readonly bytesWritten?: number;
  readonly failedRequests?: number;
  readonly latenciesMs?: readonly number[];
}): TrafficStatistics {
  const { bytesRead = 0, bytesWritten = 0, failedRequests = 0, latenciesMs = [] } = changes;
  const latencyHistogram = Array.from({ length: 128 }, () => 0);
  for (const latencyMs of latenciesMs) {
    const bucket = latencyHistogram.findIndex((_count, index) => latencyBucketMs(index + 1) > latencyMs);
    latencyHistogram[bucket] = (latencyHistogram[bucket] ?? 0) + 1;
  }
  return {
    requests: {
      read: latenciesMs.length,
      write: 0,
      flush: 0,
      trim: 0,
      writeZeroes: 0,
      cache: 0,
      blockStatus: 0,
    },
    failedRequests,
    bytesRead,
    bytesWritten,
    latencySumMs: latenciesMs.reduce((sum, latencyMs) => sum + latencyMs, 0),
    latencyHistogram,
  };
}

/** An export without clients or traffic, with whatever a test wants different. */
export function exportSnapshot(changes: Partial<ExportSnapshot>): ExportSnapshot {
  return {
    name: "disk",
    size: 2 ** 30,
    writable: true,
    image: "/images/disk.raw",
    uris: ["nbd+unix:///disk?socket=/run/disk.sock"],
    traffic: traffic({}),
    clients: [],
    ...changes,
  };
}
