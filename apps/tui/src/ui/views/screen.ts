import type { Frame, ScreenReach } from "../frame.ts";
import type { Line } from "../draw/line.ts";
import type { Glyphs } from "../glyphs.ts";
import type { Command } from "../keymap.ts";
import { drawConfirmDialog } from "./confirm-dialog.ts";
import { drawDetails, type ReadMap } from "./detail-view.ts";
import { drawErrorPanel } from "./error-panel.ts";
import { drawExportsPane, exportRows } from "./exports-pane.ts";
import { drawHeader, HEADER_ROWS } from "./header.ts";
import { drawHelp, helpScrollLimit } from "./help-overlay.ts";
import { drawJobTable, jobRows, jobsPerPage } from "./job-table.ts";
import { drawKeyHints, HINT_ROWS } from "./key-hints.ts";
import { drawNewJobForm } from "./new-job-form.ts";
import { type Area, layOver, type Overlay } from "./overlay.ts";
import { drawSortMenu } from "./sort-menu.ts";
import { drawStatusLine, STATUS_ROWS } from "./status-line.ts";
import { drawTooSmall, SMALLEST } from "./too-small.ts";

/** What a screen is drawn from besides its frame. */
export interface ScreenContext {
  readonly columns: number;
  readonly rows: number;
  readonly glyphs: Glyphs;
  readonly refusal: (command: Command) => string | undefined;
  readonly readMap: ReadMap;
}

/** Rows between header and footer. */
function bodyRows(rows: number): number {
  return Math.max(0, rows - HEADER_ROWS - STATUS_ROWS - HINT_ROWS);
}

/** A list without jobs says so in its second row. */
const FEWEST_JOB_ROWS = 3;

/** Rows of the list of jobs: all there are, or what the exports below leave of them. */
function listRows({ exports, visible }: Frame, columns: number, rows: number): number {
  const body = bodyRows(rows);
  if (exports === undefined) return body;
  // Exports get what they need, jobs at least a half of the room if they need it, and what is left.
  const jobs = Math.min(Math.ceil(body / 2), Math.max(FEWEST_JOB_ROWS, jobRows(columns, visible.length)));
  return Math.max(jobs, body - exportRows(exports));
}

/** Where overlays lie. The lowest two rows stay free of them: that is where keys and answers are. */
function overlayArea(columns: number, rows: number): Area {
  return { width: columns, height: rows - STATUS_ROWS - HINT_ROWS };
}

/** How far keys move in what {@link drawScreen} draws of a frame. */
export function reachOf(
  frame: Frame,
  { columns, rows, glyphs }: Pick<ScreenContext, "columns" | "rows" | "glyphs">,
): ScreenReach {
  const helped = frame.state.overlay?.kind === "help";
  return {
    pageSize: Math.max(1, jobsPerPage(columns, listRows(frame, columns, rows))),
    helpScroll: helped ? helpScrollLimit(frame, overlayArea(columns, rows), glyphs) : 0,
  };
}

function drawBody(frame: Frame, { columns, rows, glyphs, readMap }: ScreenContext): Line[] {
  const height = bodyRows(rows);
  const { state, sample, exports } = frame;
  const detailed =
    state.view === "detail" ? sample.jobs.find((view) => view.snapshot.id === state.selectedId) : undefined;
  if (detailed !== undefined) {
    return drawDetails(frame, detailed, { width: columns, height }, readMap, glyphs);
  }
  const jobsHeight = listRows(frame, columns, rows);
  const table = drawJobTable(frame, columns, jobsHeight, glyphs);
  if (exports === undefined) return table;
  return [...table, ...drawExportsPane(exports, columns, height - jobsHeight, glyphs)];
}

function drawOverlay(frame: Frame, area: Area, { refusal, glyphs }: ScreenContext): Overlay | undefined {
  const { overlay, sort } = frame.state;
  switch (overlay?.kind) {
    case "help":
      return drawHelp(frame, overlay.scroll, area, refusal, glyphs);
    case "sort":
      return drawSortMenu(overlay.index, sort, glyphs);
    case "error": {
      const view = frame.views.get(overlay.jobId);
      return view === undefined ? undefined : drawErrorPanel(view, area, frame.keymap, glyphs);
    }
    case "form":
      return drawNewJobForm(overlay.form, area, glyphs);
    case "confirm":
      return drawConfirmDialog(frame, overlay.confirmation, area, glyphs);
    default:
      return undefined;
  }
}

/** The whole screen: at most `rows` lines of at most `columns` columns. Draws what it is given and knows nothing else. */
export function drawScreen(frame: Frame, context: ScreenContext): readonly Line[] {
  const { columns, rows, glyphs, refusal } = context;
  if (columns < SMALLEST.columns || rows < SMALLEST.rows) return drawTooSmall(columns, rows);
  const screen = [
    ...drawHeader(frame, columns, glyphs),
    ...drawBody(frame, context),
    drawStatusLine(frame, columns, glyphs),
    drawKeyHints(frame, columns, refusal, glyphs),
  ];
  const area = overlayArea(columns, rows);
  const overlay = drawOverlay(frame, area, context);
  return overlay === undefined ? screen : layOver(screen, overlay, area, glyphs);
}
