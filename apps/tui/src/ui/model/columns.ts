import { BYTES_WIDTH, RATE_WIDTH } from "../../format/bytes.ts";
import { ELAPSED_WIDTH, ETA_WIDTH } from "../../format/duration.ts";
import { PERCENT_WIDTH } from "../../format/percent.ts";
import { STATE_WIDTH } from "./state-word.ts";

/** Columns of the job table. */
export type ColumnId =
  | "mark"
  | "name"
  | "endpoint"
  | "state"
  | "progress"
  | "rate"
  | "eta"
  | "dirty"
  | "io"
  | "limit"
  | "type"
  | "inflight"
  | "sync"
  | "elapsed"
  | "trend";

/** A column with the width it got. */
export interface FittedColumn {
  readonly id: ColumnId;
  readonly width: number;
}

/** Result of {@link fitColumns}. */
export interface FittedTable {
  readonly columns: readonly FittedColumn[];
  /** Blanks between columns. */
  readonly gap: number;
}

interface ColumnRule {
  readonly id: ColumnId;
  readonly priority: 1 | 2 | 3 | 4;
  /** Narrowest useful width, and the widest worth having. */
  readonly min: number;
  readonly max: number;
}

function fixed(id: ColumnId, priority: ColumnRule["priority"], width: number): ColumnRule {
  return { id, priority, min: width, max: width };
}

/** Narrowest terminal that shows a table; below it the jobs are cards. */
export const TABLE_MIN_COLUMNS = 60;

const NAME: ColumnRule = { id: "name", priority: 1, min: 8, max: 24 };
const ENDPOINT: ColumnRule = { id: "endpoint", priority: 2, min: 6, max: 16 };
const PROGRESS: ColumnRule = {
  id: "progress",
  priority: 1,
  min: 10 + 1 + PERCENT_WIDTH,
  max: 30 + 1 + PERCENT_WIDTH,
};
const TREND: ColumnRule = { id: "trend", priority: 4, min: 8, max: 120 };

// In the order of the table, left to right.
const RULES: readonly ColumnRule[] = [
  fixed("mark", 1, 2),
  NAME,
  ENDPOINT,
  fixed("state", 1, STATE_WIDTH),
  fixed("type", 3, 6),
  PROGRESS,
  fixed("rate", 2, RATE_WIDTH),
  fixed("eta", 2, ETA_WIDTH),
  fixed("dirty", 3, BYTES_WIDTH),
  fixed("inflight", 3, 6),
  fixed("limit", 3, RATE_WIDTH),
  fixed("io", 3, 7),
  fixed("sync", 4, 6),
  fixed("elapsed", 4, ELAPSED_WIDTH),
  TREND,
];

// In the order in which they may join: how far behind and whether it hurts come before how it is set up.
const JOINING: readonly ColumnId[] = [
  "mark",
  "name",
  "state",
  "progress",
  "endpoint",
  "rate",
  "eta",
  "dirty",
  "io",
  "limit",
  "inflight",
  "type",
  "trend",
  "elapsed",
  "sync",
];

// From priority 3 on, a column joins only if name and bar stay comfortable.
const COMFORT = { name: 12, progress: 12 + 1 + PERCENT_WIDTH } as const;

function highestPriority(width: number): number {
  if (width >= 120) return 4;
  return width >= 80 ? 3 : 2;
}

function minimumOf(rule: ColumnRule, comfortable: boolean): number {
  if (!comfortable) return rule.min;
  if (rule.id === "name") return COMFORT.name;
  return rule.id === "progress" ? COMFORT.progress : rule.min;
}

/**
 * Chooses the columns for a terminal and divides its width among them: less important ones leave first, and what is
 * left over goes to names, bars and then trends. The whole never exceeds `width`.
 * @param width - columns of the terminal, at least {@link TABLE_MIN_COLUMNS}.
 * @param longestName - columns of the longest job name; wider names than that need no room.
 * @param longestEndpoint - columns of the longest endpoint name; 0 when all jobs have the same, which needs no column.
 */
export function fitColumns(width: number, longestName: number, longestEndpoint = 0): FittedTable {
  if (!(width >= TABLE_MIN_COLUMNS)) {
    throw new RangeError(`a table needs at least ${TABLE_MIN_COLUMNS} columns, not ${width}`);
  }
  const gap = width >= 80 ? 2 : 1;
  const highest = highestPriority(width);
  let chosen: readonly ColumnRule[] = [];
  for (const id of JOINING) {
    const rule = RULES.find((candidate) => candidate.id === id);
    if (rule === undefined || rule.priority > highest) continue;
    if (rule === ENDPOINT && longestEndpoint === 0) continue;
    const joined = RULES.filter((candidate) => candidate === rule || chosen.includes(candidate));
    // No smaller column slips in before a more important one that did not fit: growing must never lose a column.
    if (minimumWidth(joined, gap, rule.priority >= 3) > width) break;
    chosen = joined;
  }
  return { columns: distribute(chosen, width, gap, longestName, longestEndpoint), gap };
}

function gapsOf(count: number, gap: number): number {
  // The mark stands close to the name it marks.
  return count < 2 ? 0 : 1 + (count - 2) * gap;
}

function minimumWidth(rules: readonly ColumnRule[], gap: number, comfortable: boolean): number {
  const widths = rules.reduce((sum, rule) => sum + minimumOf(rule, comfortable), 0);
  return widths + gapsOf(rules.length, gap);
}

function distribute(
  rules: readonly ColumnRule[],
  width: number,
  gap: number,
  longestName: number,
  longestEndpoint: number,
): FittedColumn[] {
  const comfortable = rules.some((rule) => rule.priority >= 3);
  const widths = new Map(rules.map((rule) => [rule.id, minimumOf(rule, comfortable)]));
  let spare = width - minimumWidth(rules, gap, comfortable);
  const grow = (id: ColumnId, upTo: number): void => {
    const now = widths.get(id);
    if (now === undefined) return;
    const extra = Math.min(spare, Math.max(0, upTo - now));
    widths.set(id, now + extra);
    spare -= extra;
  };
  grow("name", Math.min(NAME.max, Math.max(NAME.min, longestName)));
  grow("endpoint", Math.min(ENDPOINT.max, longestEndpoint));
  grow("progress", 20 + 1 + PERCENT_WIDTH);
  grow("trend", 30);
  grow("progress", PROGRESS.max);
  grow("trend", TREND.max);
  return rules.map(({ id }) => ({ id, width: widths.get(id) ?? 0 }));
}
