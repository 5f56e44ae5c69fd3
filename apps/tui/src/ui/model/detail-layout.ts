/** How the details divide their space. */
export interface DetailLayout {
  readonly fieldColumns: number;
  /** Zero when there is no room. */
  readonly mapRows: number;
  readonly mapColumns: number;
  /** Rows of the charts without title and axis; zero when there is no room. */
  readonly plotHeight: number;
  /** Blank lines between the blocks. */
  readonly airy: boolean;
}

// Title, bar, source and target.
const FIXED_ROWS = 4;
const SMALLEST_FIELD = 25;
const MOST_FIELD_COLUMNS = 5;
// A plot has a title line and a time axis; the map has a legend.
const PLOT_EXTRA_ROWS = 2;
const MAP_EXTRA_ROWS = 1;

function between(low: number, value: number, high: number): number {
  return Math.max(low, Math.min(high, value));
}

/** Facts first; then the map, the plots and the log share what is left. */
export function detailLayout(width: number, height: number, fieldCount: number): DetailLayout {
  const fieldColumns = between(1, Math.floor((width - 1) / SMALLEST_FIELD), MOST_FIELD_COLUMNS);
  const used = FIXED_ROWS + Math.ceil(fieldCount / fieldColumns);
  const free = height - used;
  const airy = free >= 18;
  const shared = airy ? free - 3 : free;
  const mapColumns = Math.max(1, width - 2);
  if (shared < MAP_EXTRA_ROWS + 1) return { fieldColumns, mapRows: 0, mapColumns, plotHeight: 0, airy };
  if (shared < MAP_EXTRA_ROWS + 1 + PLOT_EXTRA_ROWS + 2) {
    const mapRows = between(1, shared - MAP_EXTRA_ROWS, 3);
    return { fieldColumns, mapRows, mapColumns, plotHeight: 0, airy };
  }
  const mapRows = between(1, Math.floor(shared * 0.35) - MAP_EXTRA_ROWS, 12);
  const plotHeight = between(2, Math.floor(shared * 0.5) - PLOT_EXTRA_ROWS, 10);
  return { fieldColumns, mapRows, mapColumns, plotHeight, airy };
}
