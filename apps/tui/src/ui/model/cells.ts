import { formatBytes, formatLimit, formatRate } from "../../format/bytes.ts";
import { formatElapsed, formatEta } from "../../format/duration.ts";
import { formatPercent, PERCENT_WIDTH } from "../../format/percent.ts";
import { printable } from "../../format/printable.ts";
import { fit, truncateMiddle } from "../../format/text.ts";
import { drawBar } from "../draw/bar.ts";
import { drawSparkline } from "../draw/chart.ts";
import { fitLine, type Line, segment, type Segment } from "../draw/line.ts";
import type { JobSnapshot } from "../../job-source/job-source.ts";
import { type Glyphs, spell } from "../glyphs.ts";
import type { PendingVerb } from "../state/pending.ts";
import type { ColumnId, FittedTable } from "./columns.ts";
import type { JobView } from "./job-view.ts";
import type { SortKey, SortOrder } from "./order.ts";
import { stateTone } from "./state-word.ts";

/** What cells depend on besides their job. */
export interface CellContext {
  readonly glyphs: Glyphs;
  readonly selected: boolean;
  readonly pending: PendingVerb | undefined;
  /** Full height of the trend column, so that rows compare; `undefined` scales each row by itself. */
  readonly trendMax: number | undefined;
  /** The table has a column for endpoints. */
  readonly endpoints: boolean;
}

/** A name from outside, fit for this terminal. */
export function showName(name: string, glyphs: Glyphs): string {
  const safe = printable(name);
  return glyphs.ascii ? safe.replace(/[^\u0020-\u007e]/gu, "?") : safe;
}

/** The marks at the left of a job: selection, then what asks for attention. Readable without any style. */
export function markOf(view: JobView, selected: boolean): Segment[] {
  const pointer = segment(selected ? ">" : " ", "strong");
  if (view.attention) return [pointer, segment("!", "failure")];
  return [pointer, view.stale ? segment("*", "warning") : segment(" ")];
}

function ioText(view: JobView): string {
  const { ioStatus, errorCount } = view.snapshot;
  const word = ioStatus === "ok" ? "ok" : ioStatus === "nospace" ? "nospc" : "err";
  if (errorCount === 0) return word;
  return `${word} ${errorCount > 99 ? "+" : errorCount}`;
}

function syncText(view: JobView): string {
  const { copyMode, activelySynced } = view.snapshot;
  if (activelySynced === true) return "active";
  if (copyMode === undefined) return "";
  return copyMode === "background" ? "bg" : "sync";
}

function inFlightText(view: JobView): string {
  const { inFlightOperations, maxInFlightOperations } = view.snapshot;
  if (inFlightOperations === undefined || view.concluded) return "";
  return maxInFlightOperations === undefined
    ? String(inFlightOperations)
    : `${inFlightOperations}/${maxInFlightOperations}`;
}

/** A job's name where a column of its own names the endpoint: without the endpoint in front. */
export function nameBesideEndpoint({ id, endpoint }: JobSnapshot): string {
  return id.startsWith(`${endpoint}/`) ? id.slice(endpoint.length + 1) : id;
}

function nameCell(view: JobView, width: number, context: CellContext): Segment[] {
  const { glyphs, selected, endpoints } = context;
  const full = endpoints ? nameBesideEndpoint(view.snapshot) : view.snapshot.id;
  const name = truncateMiddle(showName(full, glyphs), width, glyphs.ellipsis);
  return [segment(fit(name, width, "left", glyphs.ellipsis), selected ? "selection" : "plain")];
}

/** The progress bar with its percentage. */
export function progressCell(view: JobView, width: number, glyphs: Glyphs): Segment[] {
  const percent = spell(formatPercent(shareOf(view), view.progress.finished), glyphs);
  return [
    ...drawBar(view.progress, width - PERCENT_WIDTH - 1, glyphs),
    segment(` ${percent}`, view.progress.finished ? "strong" : "plain"),
  ];
}

function shareOf(view: JobView): number | undefined {
  return view.progress.known ? view.progress.done : undefined;
}

/** The state as a word; while a verb waits for its effect, the verb with a tilde. */
export function stateCell(view: JobView, pending: PendingVerb | undefined, width: number): Segment {
  if (pending !== undefined) return segment(fit(pending.label, width), "warning");
  return segment(fit(view.word, width), stateTone(view.word));
}

function rateTone(view: JobView): "plain" | "warning" {
  return view.throttled ? "warning" : "plain";
}

type CellRenderer = (view: JobView, width: number, context: CellContext) => Segment[];

const RENDERERS: Readonly<Record<ColumnId, CellRenderer>> = {
  mark: (view, _width, { selected }) => markOf(view, selected),
  name: nameCell,
  endpoint: (view, width, { glyphs }) => [
    segment(
      fit(truncateMiddle(showName(view.snapshot.endpoint, glyphs), width, glyphs.ellipsis), width),
      "dim",
    ),
  ],
  state: (view, width, context) => [stateCell(view, context.pending, width)],
  progress: (view, width, context) => progressCell(view, width, context.glyphs),
  rate: (view, _width, { glyphs }) => [
    segment(spell(view.concluded ? "".padStart(10) : formatRate(view.rateBytesPerSec), glyphs)),
  ],
  eta: (view, width, { glyphs }) => {
    if (view.progress.finished || view.concluded) return [segment(" ".repeat(width))];
    const text = spell(formatEta(view.etaSec), glyphs);
    return [segment(text, view.etaSec === "never" ? "warning" : "plain")];
  },
  dirty: (view, width) => [
    segment(view.concluded ? " ".repeat(width) : formatBytes(view.progress.remainingBytes)),
  ],
  inflight: (view, width) => [segment(fit(inFlightText(view), width, "right"))],
  limit: (view, width, { glyphs }) => {
    if (view.concluded) return [segment(" ".repeat(width))];
    const text = spell(formatLimit(view.snapshot.speed), glyphs);
    return [segment(text, view.snapshot.speed === 0 ? "dim" : rateTone(view))];
  },
  io: (view, width) => [
    segment(fit(ioText(view), width), view.snapshot.ioStatus === "ok" ? "plain" : "failure"),
  ],
  type: (view, width, { glyphs }) => [
    segment(fit(showName(view.snapshot.type, glyphs), width, "left", glyphs.ellipsis)),
  ],
  sync: (view, width) => [segment(fit(syncText(view), width))],
  elapsed: (view) => [segment(formatElapsed(view.snapshot.elapsedMs))],
  trend: (view, width, { glyphs, trendMax }) => {
    if (view.concluded) return [segment(" ".repeat(width))];
    const values = view.rateTrend.latest(width);
    const max = trendMax ?? Math.max(0, ...values);
    return [segment(drawSparkline(values, width, max, glyphs), "rate")];
  },
};

/** One row of the table, exactly as wide as the table was fitted for. */
export function drawRow(view: JobView, table: FittedTable, context: CellContext): Line {
  const line: Segment[] = [];
  for (const [index, column] of table.columns.entries()) {
    if (index > 0) line.push(segment(" ".repeat(index === 1 ? 1 : table.gap)));
    const cell = RENDERERS[column.id](view, column.width, context);
    line.push(...fitLine(cell, column.width, context.glyphs.ellipsis));
  }
  if (!view.concluded || context.selected) return line;
  // Concluded jobs step back, except for the word that says how they ended.
  return line.map((part) =>
    part.tone === "failure" || part.tone === "selection" ? part : { text: part.text, tone: "dim" },
  );
}

const TITLES: Readonly<Record<ColumnId, string>> = {
  mark: "",
  name: "NAME",
  endpoint: "ENDPOINT",
  state: "STATE",
  progress: "PROGRESS",
  rate: "RATE",
  eta: "ETA",
  dirty: "DIRTY",
  io: "IO",
  limit: "LIMIT",
  type: "TYPE",
  inflight: "INFL",
  sync: "SYNC",
  elapsed: "ELAPSED",
  trend: "TREND",
};

const RIGHT_ALIGNED: ReadonlySet<ColumnId> = new Set([
  "rate",
  "eta",
  "dirty",
  "inflight",
  "limit",
  "elapsed",
]);

const SORTED_COLUMN: Readonly<Partial<Record<SortKey, ColumnId>>> = {
  name: "name",
  state: "state",
  progress: "progress",
  rate: "rate",
  eta: "eta",
  dirty: "dirty",
  type: "type",
};

/** The column titles above {@link drawRow}, with a mark at the sorted column. */
export function drawTitles(table: FittedTable, order: SortOrder, glyphs: Glyphs): Line {
  const line: Segment[] = [];
  for (const [index, { id, width }] of table.columns.entries()) {
    if (index > 0) line.push(segment(" ".repeat(index === 1 ? 1 : table.gap)));
    const mark = SORTED_COLUMN[order.key] === id ? (order.reversed ? glyphs.sortUp : glyphs.sortDown) : "";
    const align = RIGHT_ALIGNED.has(id) ? "right" : "left";
    line.push(
      segment(
        fit(TITLES[id] + mark, width, align, glyphs.ellipsis),
        SORTED_COLUMN[order.key] === id ? "heading" : "dim",
      ),
    );
  }
  return line;
}
