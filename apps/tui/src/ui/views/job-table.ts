import { textWidth, wrapText } from "../../format/text.ts";
import type { Frame } from "../frame.ts";
import { fitLine, type Line, segment } from "../draw/line.ts";
import type { Glyphs } from "../glyphs.ts";
import { type CellContext, drawRow, drawTitles, nameBesideEndpoint, showName } from "../model/cells.ts";
import { fitColumns, type FittedTable, TABLE_MIN_COLUMNS } from "../model/columns.ts";
import type { JobView } from "../model/job-view.ts";
import { windowAround } from "../model/window.ts";
import { CARD_ROWS, drawJobCard } from "./job-card.ts";

function trendMaxOf(views: readonly JobView[], table: FittedTable): number | undefined {
  const width = table.columns.find((column) => column.id === "trend")?.width;
  if (width === undefined) return undefined;
  let max = 0;
  for (const view of views) {
    if (view.concluded) continue;
    for (let age = 0; age < width; age++) max = Math.max(max, view.rateTrend.at(age));
  }
  return max;
}

/** Columns of the longest endpoint name, or 0 when there is only one endpoint. */
function longestEndpointOf(views: readonly JobView[], glyphs: Glyphs): number {
  const names = new Set(views.map((view) => view.snapshot.endpoint));
  if (names.size < 2) return 0;
  return Math.max("ENDPOINT".length, ...Array.from(names, (name) => textWidth(showName(name, glyphs))));
}

function emptyText({ sample, endpoint, canStart, readOnly, keymap }: Frame): string {
  // A job cannot be started where nobody answers.
  if (sample.jobs.length === 0 && endpoint.state !== "connected" && endpoint.problem !== undefined)
    return `${endpoint.problem}; it is tried again until it answers`;
  if (sample.jobs.length > 0) return `No job passes the filter; ${keymap.label("back")} clears it.`;
  return canStart && !readOnly
    ? `No jobs yet; press ${keymap.label("new-job")} to start a mirror.`
    : "No jobs here yet.";
}

/** How many jobs fit on a page. */
export function jobsPerPage(width: number, height: number): number {
  return width < TABLE_MIN_COLUMNS ? Math.floor(height / CARD_ROWS) : Math.max(0, height - 1);
}

/** How many rows the jobs take when all are shown. */
export function jobRows(width: number, count: number): number {
  return width < TABLE_MIN_COLUMNS ? count * CARD_ROWS : count + 1;
}

/** The jobs: rows of a table, or cards where a table does not fit. Shows the part around the selection. */
export function drawJobTable(frame: Frame, width: number, height: number, glyphs: Glyphs): Line[] {
  const { state, visible } = frame;
  const table = width < TABLE_MIN_COLUMNS ? undefined : tableFor(visible, width, glyphs);
  const { start, end } = windowAround(visible.length, state.selectedIndex, jobsPerPage(width, height));
  const shown = visible.slice(start, end);
  const trendMax =
    table !== undefined && state.trendScale === "shared" ? trendMaxOf(shown, table) : undefined;
  const lines: Line[] = table === undefined ? [] : [fitLine(drawTitles(table, state.sort, glyphs), width)];
  for (const view of shown) {
    const { id } = view.snapshot;
    const context: CellContext = {
      glyphs,
      selected: id === state.selectedId,
      pending: state.pending.get(id),
      trendMax,
      endpoints: table?.columns.some((column) => column.id === "endpoint") === true,
    };
    if (table === undefined) lines.push(...drawJobCard(view, width, context));
    else lines.push(drawRow(view, table, context));
  }
  const blanks: Line[] = Array.from({ length: Math.max(0, height - lines.length) }, () => []);
  if (shown.length === 0 && blanks.length > 1) {
    const text = wrapText(showName(emptyText(frame), glyphs), width - 4);
    for (const [row, part] of text.slice(0, blanks.length - 1).entries()) {
      blanks[row + 1] = fitLine([segment("  "), segment(part, "dim")], width);
    }
  }
  return [...lines, ...blanks];
}

/** The columns: as wide as the names need, so that they do not move when the list is scrolled. */
function tableFor(views: readonly JobView[], width: number, glyphs: Glyphs): FittedTable {
  const longestEndpoint = longestEndpointOf(views, glyphs);
  const longestName = views.reduce((max, { snapshot }) => {
    const name = longestEndpoint > 0 ? nameBesideEndpoint(snapshot) : snapshot.id;
    return Math.max(max, textWidth(showName(name, glyphs)));
  }, 0);
  return fitColumns(width, longestName, longestEndpoint);
}
