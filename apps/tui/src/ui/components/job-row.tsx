import { memo, type ReactNode, use } from "react";
import { type CellContext, drawRow } from "../model/cells.ts";
import type { FittedTable } from "../model/columns.ts";
import type { JobView } from "../model/job-view.ts";
import type { PendingVerb } from "../state/pending.ts";
import { StyleContext } from "../style-context.ts";
import { Lines } from "./lines.tsx";

/** Properties of {@link JobRow}. */
export interface JobRowProps {
  readonly view: JobView;
  readonly table: FittedTable;
  readonly selected: boolean;
  readonly pending: PendingVerb | undefined;
  readonly trendMax: number | undefined;
}

/** One job as a table row. Draws again only when its own job, place or pending verb changed. */
export const JobRow: (props: JobRowProps) => ReactNode = memo((props) => {
  const { glyphs } = use(StyleContext);
  const context: CellContext = {
    glyphs,
    selected: props.selected,
    pending: props.pending,
    trendMax: props.trendMax,
    endpoints: props.table.columns.some(({ id }) => id === "endpoint"),
  };
  return <Lines lines={[drawRow(props.view, props.table, context)]} />;
});
