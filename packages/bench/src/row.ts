/** What a figure has to reach: the ratio to the peer, or the value itself. */
export interface Bar {
  readonly on: "ratio" | "value";
  readonly atLeast?: number;
  readonly atMost?: number;
}

/** One line of the report: a figure of ours beside a peer's. */
export interface BenchRow {
  /** What was measured, as `raw to raw, 2 GiB, to READY`. */
  readonly figure: string;
  /** Of `ours` and `peer`: `ms`, `MiB`, `MiB/s`, `ns/op`, `%`. */
  readonly unit: string;
  /** Median of our runs. */
  readonly ours: number;
  /** The peer's name and the median of its runs. */
  readonly peer?: { readonly name: string; readonly value: number };
  /** Whether a larger figure is the better one. Default false: times and sizes. */
  readonly largerIsBetter?: boolean;
  /** Absent: the row informs, nothing is asked of it. */
  readonly bar?: Bar;
}

/** How many times as good as the peer we are; above 1 is better. `undefined` without a peer. */
export function ratioOf(row: BenchRow): number | undefined {
  if (row.peer === undefined) return undefined;
  return row.largerIsBetter === true ? row.ours / row.peer.value : row.peer.value / row.ours;
}

/** Whether a row reaches its bar; `undefined` when it has none. A ratio that is not known does not reach any. */
export function reachesBar(row: BenchRow): boolean | undefined {
  const { bar } = row;
  if (bar === undefined) return undefined;
  const value = bar.on === "ratio" ? (ratioOf(row) ?? Number.NaN) : row.ours;
  return value >= (bar.atLeast ?? -Infinity) && value <= (bar.atMost ?? Infinity);
}
