import { interleave, medianOf } from "../interleave.ts";
import type { Bar, BenchRow } from "../row.ts";

/** One figure of ours and of those peers that can do the same. Each call is one run and answers the figure. */
export interface Contest {
  readonly figure: string;
  readonly unit: string;
  readonly largerIsBetter?: boolean;
  readonly bar?: Bar;
  readonly ours: () => number;
  readonly peers?: Readonly<Record<string, (() => number) | undefined>>;
}

/** Fewest counted runs: most of these take a millisecond, and engines compile a function only after a few. */
const LEAST_RUNS = 9;

/** Runs a contest. @returns One row per peer, or one without a peer; the bar is on the first. */
export async function holdContest(contest: Contest, runs: number): Promise<readonly BenchRow[]> {
  const { figure, unit, largerIsBetter = false, bar, ours, peers = {} } = contest;
  const contestants = new Map([["ours", ours]]);
  for (const [name, run] of Object.entries(peers)) if (run !== undefined) contestants.set(name, run);
  const results = await interleave(
    Object.fromEntries([...contestants].map(([name, run]) => [name, async () => run()])),
    { runs: Math.max(LEAST_RUNS, runs) },
  );
  const valueOf = (name: string): number => medianOf(results, name, (value: number) => value);

  const row: BenchRow = { figure, unit, ours: valueOf("ours"), largerIsBetter };
  const names = [...contestants.keys()].filter((name) => name !== "ours");
  const rows = names.map((name): BenchRow => ({ ...row, peer: { name, value: valueOf(name) } }));
  const [first = row, ...others] = rows;
  return [bar === undefined ? first : { ...first, bar }, ...others];
}

/** Milliseconds that `run` takes. */
export function millisecondsOf(run: () => void): number {
  const startedAt = performance.now();
  run();
  return performance.now() - startedAt;
}

/** Nanoseconds per call of something that `run` does `calls` times. */
export function nanosecondsPer(calls: number, run: () => void): number {
  return (millisecondsOf(run) * 1e6) / calls;
}

/** Stops a benchmark whose work was not done: its figure would mean nothing. */
export function expectEqual(what: string, got: number, wanted: number): void {
  if (got !== wanted) throw new Error(`${what} is ${got} instead of ${wanted}: nothing was measured`);
}
