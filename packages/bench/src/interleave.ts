/** One who is measured: each call is one run and gives its figures. */
export type Contestant<Figures> = () => Promise<Figures>;

/** Middle value; the mean of the two middle ones when their number is even. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.ceil(sorted.length / 2) - 1];
  if (upper === undefined || lower === undefined)
    throw new RangeError("the median of nothing is not defined");
  return (lower + upper) / 2;
}

/** How {@link interleave} runs. */
export interface InterleaveOptions {
  /** Counted runs of each contestant. */
  readonly runs: number;
  /** Awaited after every run, counted or not, to leave nothing behind for the next. */
  readonly afterEach?: () => Promise<void>;
}

/**
 * Runs every contestant in turn, once without counting and then `runs` times, each round beginning with the next one:
 * what the machine does meanwhile falls on all alike.
 *
 * @returns The figures of the counted runs by contestant, in order.
 */
export async function interleave<Name extends string, Figures>(
  contestants: Readonly<Record<Name, Contestant<Figures>>>,
  { runs, afterEach }: InterleaveOptions,
): Promise<ReadonlyMap<string, readonly Figures[]>> {
  const entries = Object.entries<Contestant<Figures>>(contestants);
  const results = new Map<string, Figures[]>(entries.map(([name]) => [name, []]));
  for (const [, contestant] of entries) {
    await contestant();
    await afterEach?.();
  }
  for (let round = 0; round < runs; round++) {
    const first = round % entries.length;
    for (const [name, contestant] of [...entries.slice(first), ...entries.slice(0, first)]) {
      results.get(name)?.push(await contestant());
      await afterEach?.();
    }
  }
  return results;
}

/** Median of one figure over a contestant's runs. */
export function medianOf<Figures>(
  results: ReadonlyMap<string, readonly Figures[]>,
  name: string,
  pick: (figures: Figures) => number,
): number {
  return median((results.get(name) ?? []).map((figures) => pick(figures)));
}
