import type { TrafficStatistics } from "@blockmirror/nbd";
import type { ExportSource } from "../../exports/export-source.ts";
import { EwmaRate } from "./ewma.ts";

/** Latencies are those of about this time, milliseconds: old enough to be many, young enough to be news. */
const LATENCY_WINDOW_MS = 10_000;

/** Events make looks come close together; a rate over less than this would be noise, milliseconds. */
const RATE_STEP_MS = 200;

/** Histograms that are closer together than this say nothing new, milliseconds. */
const LATENCY_STEP_MS = 1000;

/** Traffic as the screen shows it. */
export interface TrafficView {
  readonly readBytesPerSec: number | undefined;
  readonly writeBytesPerSec: number | undefined;
  readonly requestsPerSec: number | undefined;
  /** Of the last ten seconds; undefined when there were no requests. */
  readonly medianMs: number | undefined;
  readonly p99Ms: number | undefined;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly failedRequests: number;
}

/** A client as the screen shows it. */
export interface ClientView extends TrafficView {
  readonly id: number;
  readonly address: string;
  readonly secure: boolean;
}

/** An export as the screen shows it. */
export interface ExportView extends TrafficView {
  readonly name: string;
  readonly size: number;
  readonly writable: boolean;
  readonly image: string;
  readonly uris: readonly string[];
  readonly clients: readonly ClientView[];
}

/** What traffic was before, as far as rates and latencies need it. */
class TrafficHistory {
  readonly #source: ExportSource;
  readonly #read = new EwmaRate();
  readonly #written = new EwmaRate();
  readonly #requests = new EwmaRate();
  #ratesAtMs = -Infinity;
  /** Oldest first; the first one is the base that latencies are counted from. */
  readonly #histograms: { readonly atMs: number; readonly counts: readonly number[] }[] = [];

  constructor(source: ExportSource) {
    this.#source = source;
  }

  /** Takes a look at the counters and tells what there is to show. */
  look(traffic: TrafficStatistics, atMs: number): TrafficView {
    this.#sampleRates(traffic, atMs);
    const recent = this.#recent(traffic.latencyHistogram, atMs);
    return {
      readBytesPerSec: this.#read.perSec,
      writeBytesPerSec: this.#written.perSec,
      requestsPerSec: this.#requests.perSec,
      medianMs: this.#source.latencyMs(recent, 0.5),
      p99Ms: this.#source.latencyMs(recent, 0.99),
      bytesRead: traffic.bytesRead,
      bytesWritten: traffic.bytesWritten,
      failedRequests: traffic.failedRequests,
    };
  }

  #sampleRates(traffic: TrafficStatistics, atMs: number): void {
    if (atMs - this.#ratesAtMs < RATE_STEP_MS) return;
    this.#ratesAtMs = atMs;
    const requests = Object.values(traffic.requests).reduce((sum, count) => sum + count, 0);
    this.#read.sample(traffic.bytesRead, atMs);
    this.#written.sample(traffic.bytesWritten, atMs);
    this.#requests.sample(requests, atMs);
  }

  #recent(counts: readonly number[], atMs: number): readonly number[] {
    const kept = this.#histograms;
    while (atMs - (kept[1]?.atMs ?? Infinity) >= LATENCY_WINDOW_MS) kept.shift();
    const base = kept[0]?.counts;
    if (atMs - (kept.at(-1)?.atMs ?? -Infinity) >= LATENCY_STEP_MS) kept.push({ atMs, counts });
    // What came before the first look is as good as new.
    return base === undefined ? counts : counts.map((count, index) => count - (base[index] ?? 0));
  }
}

/** Turns snapshots of exports into views, and remembers what rates and latencies need. */
export class ExportsModel {
  readonly #source: ExportSource;
  #histories: ReadonlyMap<string, TrafficHistory> = new Map();

  constructor(source: ExportSource) {
    this.#source = source;
  }

  /** Looks at the exports at one moment. */
  sample(atMs: number): readonly ExportView[] {
    const seen = new Map<string, TrafficHistory>();
    const look = (key: string, traffic: TrafficStatistics): TrafficView => {
      const history = this.#histories.get(key) ?? new TrafficHistory(this.#source);
      seen.set(key, history);
      return history.look(traffic, atMs);
    };
    const views = this.#source.list().map(({ name, size, writable, image, uris, traffic, clients }) => ({
      ...look(`export ${name}`, traffic),
      name,
      size,
      writable,
      image,
      uris,
      clients: clients.map((client) => ({
        ...look(`client ${client.id}`, client.traffic),
        id: client.id,
        address: client.address,
        secure: client.secure,
      })),
    }));
    this.#histories = seen;
    return views;
  }
}

/** How many clients all exports have together. */
export function countClients(exports: readonly ExportView[]): number {
  return exports.reduce((sum, { clients }) => sum + clients.length, 0);
}
