import type { JobView } from "./job-view.ts";
import { STATE_WORDS } from "./state-word.ts";

/** What the table can be sorted by. */
export type SortKey = "started" | "name" | "state" | "progress" | "rate" | "eta" | "dirty" | "type";

/** Every sort key, in the order of the menu. */
export const SORT_KEYS: readonly SortKey[] = [
  "started",
  "name",
  "state",
  "progress",
  "rate",
  "eta",
  "dirty",
  "type",
];

/** Present order of the table. */
export interface SortOrder {
  readonly key: SortKey;
  readonly reversed: boolean;
}

type Compare = (a: JobView, b: JobView) => number;

const byText = new Intl.Collator("en", { numeric: true }).compare;

function etaOf(view: JobView): number {
  if (view.etaSec === "never") return Number.MAX_VALUE;
  return view.etaSec ?? Infinity;
}

function compareNumbers(a: number, b: number): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

const COMPARE: Readonly<Record<SortKey, Compare>> = {
  started: (a, b) => compareNumbers(a.snapshot.startedAtMs, b.snapshot.startedAtMs),
  name: (a, b) => byText(a.snapshot.id, b.snapshot.id),
  type: (a, b) => byText(a.snapshot.type, b.snapshot.type),
  state: (a, b) => STATE_WORDS.indexOf(a.word) - STATE_WORDS.indexOf(b.word),
  progress: (a, b) => compareNumbers(a.progress.done, b.progress.done),
  // Fast jobs, and those with much left, are what one sorts for: they come first.
  rate: (a, b) => compareNumbers(b.rateBytesPerSec ?? -1, a.rateBytesPerSec ?? -1),
  dirty: (a, b) => compareNumbers(b.progress.remainingBytes, a.progress.remainingBytes),
  eta: (a, b) => compareNumbers(etaOf(a), etaOf(b)),
};

/** Sorts stably, live jobs always above concluded ones. */
export function sortJobs(jobs: readonly JobView[], order: SortOrder): JobView[] {
  const compare = COMPARE[order.key];
  const direction = order.reversed ? -1 : 1;
  return [...jobs].sort((a, b) => Number(a.concluded) - Number(b.concluded) || compare(a, b) * direction);
}

function matchesTerm(view: JobView, term: string): boolean {
  const { id, type, status } = view.snapshot;
  const word = view.word.toLowerCase();
  if (term.startsWith("state:")) {
    const wanted = term.slice("state:".length);
    return word.startsWith(wanted) || status.startsWith(wanted);
  }
  if (term.startsWith("type:")) return type.toLowerCase().startsWith(term.slice("type:".length));
  return id.toLowerCase().includes(term) || type.toLowerCase().includes(term) || word.includes(term);
}

/**
 * Whether a job passes the filter: every word of it occurs in name, type or state; `state:` and `type:` look at one
 * field only; a leading `!` turns the whole filter around.
 */
export function matchesFilter(view: JobView, filter: string): boolean {
  const text = filter.trim().toLowerCase();
  const inverse = text.startsWith("!");
  const terms = (inverse ? text.slice(1) : text).split(/\s+/u).filter((term) => term !== "");
  if (terms.length === 0) return true;
  return terms.every((term) => matchesTerm(view, term)) !== inverse;
}
