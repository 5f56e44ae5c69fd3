import { BYTES_WIDTH, formatBytes, formatRate, RATE_WIDTH, UNKNOWN } from "../../format/bytes.ts";
import { formatLatency, LATENCY_WIDTH } from "../../format/latency.ts";
import { fit } from "../../format/text.ts";
import type { Tone } from "../theme.ts";
import type { TrafficView } from "./export-view.ts";

/** A column of figures in the list of exports and clients. */
export interface TrafficColumn {
  readonly title: string;
  readonly width: number;
  readonly text: (traffic: TrafficView) => string;
  readonly tone: (traffic: TrafficView) => Tone;
}

const COUNT_WIDTH = 7;

function count(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return UNKNOWN.padStart(COUNT_WIDTH);
  const rounded = Math.round(value);
  const text = rounded >= 1_000_000 ? `${(value / 1_000_000).toFixed(1)}M` : String(rounded);
  return fit(text, COUNT_WIDTH, "right");
}

const plain = (): Tone => "plain";
const dim = (): Tone => "dim";
const rate =
  (of: (traffic: TrafficView) => number | undefined) =>
  (traffic: TrafficView): Tone =>
    (of(traffic) ?? 0) > 0 ? "rate" : "dim";

const COLUMNS = {
  read: {
    title: "READ/s",
    width: RATE_WIDTH,
    text: ({ readBytesPerSec }) => formatRate(readBytesPerSec),
    tone: rate(({ readBytesPerSec }) => readBytesPerSec),
  },
  write: {
    title: "WRITE/s",
    width: RATE_WIDTH,
    text: ({ writeBytesPerSec }) => formatRate(writeBytesPerSec),
    tone: rate(({ writeBytesPerSec }) => writeBytesPerSec),
  },
  iops: {
    title: "IOPS",
    width: COUNT_WIDTH,
    text: ({ requestsPerSec }) => count(requestsPerSec),
    tone: plain,
  },
  median: {
    title: "P50",
    width: LATENCY_WIDTH,
    text: ({ medianMs }) => formatLatency(medianMs),
    tone: plain,
  },
  p99: { title: "P99", width: LATENCY_WIDTH, text: ({ p99Ms }) => formatLatency(p99Ms), tone: plain },
  failed: {
    title: "ERRORS",
    width: COUNT_WIDTH,
    text: ({ failedRequests }) => count(failedRequests),
    tone: ({ failedRequests }) => (failedRequests > 0 ? "failure" : "dim"),
  },
  hasRead: { title: "READ", width: BYTES_WIDTH, text: ({ bytesRead }) => formatBytes(bytesRead), tone: dim },
  hasWritten: {
    title: "WRITTEN",
    width: BYTES_WIDTH,
    text: ({ bytesWritten }) => formatBytes(bytesWritten),
    tone: dim,
  },
} as const satisfies Record<string, TrafficColumn>;

type ColumnName = keyof typeof COLUMNS;

/** In the order of the screen, left to right. */
const SHOWN: readonly ColumnName[] = [
  "read",
  "write",
  "iops",
  "median",
  "p99",
  "failed",
  "hasRead",
  "hasWritten",
];

/** In the order in which they may join. */
const JOINING: readonly ColumnName[] = [
  "write",
  "read",
  "p99",
  "iops",
  "median",
  "failed",
  "hasWritten",
  "hasRead",
];

/** Blanks between columns. */
export const EXPORT_GAP = 2;

const NAME_MIN = 14;
const NAME_MAX = 60;

/** What fits beside the names. */
export interface ExportTable {
  readonly nameWidth: number;
  readonly columns: readonly TrafficColumn[];
}

/** Chooses the columns for a width: names first, then what tells most. */
export function fitExportColumns(width: number): ExportTable {
  const joined = new Set<ColumnName>();
  let left = width - 1 - NAME_MIN;
  for (const name of JOINING) {
    const needs = COLUMNS[name].width + EXPORT_GAP;
    if (needs > left) break;
    joined.add(name);
    left -= needs;
  }
  return {
    nameWidth: Math.min(NAME_MAX, NAME_MIN + left),
    columns: SHOWN.filter((name) => joined.has(name)).map((name) => COLUMNS[name]),
  };
}
