import { Box } from "ink";
import { type ReactNode, useMemo } from "react";
import type { JobMap, NoJobMap } from "../../job-source/job-source.ts";
import type { Frame } from "../frame.ts";
import type { Command } from "../keymap.ts";
import { StyleContext, type UiStyle } from "../style-context.ts";
import { ConfirmDialog } from "./confirm-dialog.tsx";
import { DetailView } from "./detail-view.tsx";
import { ErrorPanel } from "./error-panel.tsx";
import { exportRows, ExportsPane } from "./exports-pane.tsx";
import { Header, HEADER_ROWS } from "./header.tsx";
import { HelpOverlay } from "./help-overlay.tsx";
import { jobRows, JobTable } from "./job-table.tsx";
import { HINT_ROWS, KeyHints } from "./key-hints.tsx";
import { NewJobForm } from "./new-job-form.tsx";
import type { Area } from "./overlay-box.tsx";
import { SortMenu } from "./sort-menu.tsx";
import { STATUS_ROWS, StatusLine } from "./status-line.tsx";
import { SMALLEST, TooSmall } from "./too-small.tsx";

/** Properties of {@link Screen}. */
export interface ScreenProps {
  readonly frame: Frame;
  readonly columns: number;
  readonly rows: number;
  readonly style: UiStyle;
  readonly refusal: (command: Command) => string | undefined;
  readonly readMap: (id: string, cellCount: number) => JobMap | NoJobMap | undefined;
}

/** Rows between header and footer. */
function bodyRows(rows: number): number {
  return Math.max(0, rows - HEADER_ROWS - STATUS_ROWS - HINT_ROWS);
}

/** A list without jobs says so in its second row. */
const FEWEST_JOB_ROWS = 3;

/** Rows of the list of jobs: all there are, or what the exports below leave of them. */
export function listRows({ exports, visible }: Frame, columns: number, rows: number): number {
  const body = bodyRows(rows);
  if (exports === undefined) return body;
  // Exports get what they need, jobs at least a half of the room if they need it, and what is left.
  const jobs = Math.min(Math.ceil(body / 2), Math.max(FEWEST_JOB_ROWS, jobRows(columns, visible.length)));
  return Math.max(jobs, body - exportRows(exports));
}

function Body({ frame, columns, rows, readMap }: ScreenProps): ReactNode {
  const height = bodyRows(rows);
  const { state, sample } = frame;
  const detailed =
    state.view === "detail" ? sample.jobs.find((view) => view.snapshot.id === state.selectedId) : undefined;
  if (detailed === undefined) {
    const jobsHeight = listRows(frame, columns, rows);
    return (
      <>
        <JobTable frame={frame} width={columns} height={jobsHeight} />
        {frame.exports === undefined ? null : (
          <ExportsPane exports={frame.exports} width={columns} height={height - jobsHeight} />
        )}
      </>
    );
  }
  return <DetailView frame={frame} view={detailed} width={columns} height={height} readMap={readMap} />;
}

function OverlayOf({ frame, refusal, area }: ScreenProps & { readonly area: Area }): ReactNode {
  const { overlay, sort } = frame.state;
  switch (overlay?.kind) {
    case "help":
      return <HelpOverlay area={area} scroll={overlay.scroll} refusal={refusal} />;
    case "sort":
      return <SortMenu area={area} index={overlay.index} order={sort} />;
    case "error": {
      const view = frame.views.get(overlay.jobId);
      return view === undefined ? null : <ErrorPanel view={view} area={area} />;
    }
    case "form":
      return <NewJobForm form={overlay.form} area={area} />;
    case "confirm":
      return <ConfirmDialog frame={frame} confirmation={overlay.confirmation} area={area} />;
    default:
      return null;
  }
}

/** The whole screen, exactly `rows` lines of at most `columns` columns. Draws what it is given and knows nothing else. */
export function Screen(props: ScreenProps): ReactNode {
  const { frame, columns, rows, style, refusal } = props;
  // The lowest two rows stay free of overlays: that is where keys and answers are.
  const area = useMemo(() => ({ width: columns, height: rows - STATUS_ROWS - HINT_ROWS }), [columns, rows]);
  if (columns < SMALLEST.columns || rows < SMALLEST.rows) return <TooSmall columns={columns} rows={rows} />;
  return (
    <StyleContext value={style}>
      <Box width={columns} height={rows} flexDirection="column" overflow="hidden">
        <Header frame={frame} width={columns} />
        <Body {...props} />
        <StatusLine frame={frame} width={columns} />
        <KeyHints frame={frame} width={columns} refusal={refusal} />
        <OverlayOf {...props} area={area} />
      </Box>
    </StyleContext>
  );
}
