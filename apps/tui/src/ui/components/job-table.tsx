import { type ReactNode, use, useMemo } from "react";
import { textWidth } from "../../format/text.ts";
import type { Frame } from "../frame.ts";
import { fitLine, type Line, segment } from "../draw/line.ts";
import type { Glyphs } from "../glyphs.ts";
import { drawTitles, nameBesideEndpoint, showName } from "../model/cells.ts";
import { fitColumns, type FittedTable, TABLE_MIN_COLUMNS } from "../model/columns.ts";
import type { JobView } from "../model/job-view.ts";
import { windowAround } from "../model/window.ts";
import { StyleContext } from "../style-context.ts";
import { CARD_ROWS, JobCard } from "./job-card.tsx";
import { JobRow } from "./job-row.tsx";
import { Lines } from "./lines.tsx";

/** Properties of {@link JobTable}. */
export interface JobTableProps {
  readonly frame: Frame;
  readonly width: number;
  readonly height: number;
}

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

function emptyText({ sample, canStart, readOnly }: Frame): string {
  if (sample.jobs.length > 0) return "No job passes the filter; Esc clears it.";
  return canStart && !readOnly ? "No jobs yet; press n to start a mirror." : "No jobs here yet.";
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
export function JobTable({ frame, width, height }: JobTableProps): ReactNode {
  const { glyphs } = use(StyleContext);
  const { state, visible } = frame;
  const longestEndpoint = useMemo(() => longestEndpointOf(visible, glyphs), [visible, glyphs]);
  const longestName = useMemo(() => {
    const nameOf = ({ snapshot }: JobView): string =>
      longestEndpoint > 0 ? nameBesideEndpoint(snapshot) : snapshot.id;
    return visible.reduce((max, view) => Math.max(max, textWidth(showName(nameOf(view), glyphs))), 0);
  }, [visible, glyphs, longestEndpoint]);
  const cards = width < TABLE_MIN_COLUMNS;
  const table = useMemo(
    () => (cards ? undefined : fitColumns(width, longestName, longestEndpoint)),
    [cards, width, longestName, longestEndpoint],
  );
  const { start, end } = windowAround(visible.length, state.selectedIndex, jobsPerPage(width, height));
  const shown = visible.slice(start, end);
  const trendMax =
    table !== undefined && state.trendScale === "shared" ? trendMaxOf(shown, table) : undefined;
  const titles: readonly Line[] =
    table === undefined ? [] : [fitLine(drawTitles(table, state.sort, glyphs), width)];
  const used = titles.length + shown.length * (cards ? CARD_ROWS : 1);
  const blanks: Line[] = Array.from({ length: Math.max(0, height - used) }, () => []);
  if (shown.length === 0 && blanks.length > 1) {
    blanks[1] = fitLine([segment("  "), segment(emptyText(frame), "dim")], width);
  }
  return (
    <>
      <Lines lines={titles} />
      {shown.map((view) => {
        const { id } = view.snapshot;
        const common = { view, selected: id === state.selectedId, pending: state.pending.get(id) };
        return table === undefined ? (
          <JobCard key={id} {...common} width={width} />
        ) : (
          <JobRow key={id} {...common} table={table} trendMax={trendMax} />
        );
      })}
      <Lines lines={blanks} />
    </>
  );
}
