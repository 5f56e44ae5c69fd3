import type { KnownJob } from "./job-records.ts";

/** What became of a job that ran in the background, for people: one line, and where its log is unless all went well. */
export function outcomeLines({ record, state }: KnownJob): readonly string[] {
  const { id, target, end, log, pid } = record;
  const where = `  log ${log}`;
  if (end !== undefined) {
    const why = end.error === undefined ? "" : `: ${end.error}`;
    const line = `${localTime(end.at)} ${end.summary}${why}`;
    const left = end.cleanupError === undefined ? [] : [`  could not clean up: ${end.cleanupError}`];
    return end.outcome === "completed" && left.length === 0 ? [line] : [line, ...left, where];
  }
  if (state === "running") return [`${localTime(record.startedAt)} ${id}: runs, process ${pid}`];
  return [
    `${localTime(record.startedAt)} ${id}: lost: its process has ended without a word; take ${target} for no copy`,
    where,
  ];
}

/** The same for programs: one object in the shape of an event. */
export function outcomeEvent({ record, state }: KnownJob): string {
  const ms = Date.parse(record.end?.at ?? record.startedAt);
  const timestamp = { seconds: Math.floor(ms / 1000), microseconds: (ms % 1000) * 1000 };
  const { end, ...about } = record;
  return JSON.stringify({ event: "JOB_OUTCOME", data: { ...about, state, ...end }, timestamp });
}

function localTime(iso: string): string {
  const at = new Date(iso);
  return (
    `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ` +
    `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`
  );
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}
