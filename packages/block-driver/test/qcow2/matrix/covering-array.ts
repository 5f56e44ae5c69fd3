/** The values of each factor, by name. */
export type Factors = ReadonlyMap<string, readonly string[]>;

/** A value for each factor; a row under construction has one for some. */
export type Row = ReadonlyMap<string, string>;

/** Values that never meet in one row: a row is forbidden that has one of the listed values for every factor named. */
export interface Forbidden {
  readonly why: string;
  readonly together: Readonly<Record<string, readonly string[]>>;
}

/** One value each of two factors. */
interface Pair {
  readonly row: Row;
  readonly key: string;
}

/** Orders of the factors that are tried for each row; the one that covers most is taken. */
const ATTEMPTS = 12;

/** True when the row, complete or not, has everything that one of the rules forbids together. */
export function isForbidden(row: Row, forbidden: readonly Forbidden[]): boolean {
  return forbidden.some(({ together }) =>
    Object.entries(together).every(([factor, values]) => values.includes(row.get(factor) ?? "")),
  );
}

/** The pairs of values in a row, each as a text that does not depend on the order of the row. */
export function pairsOf(row: Row): readonly string[] {
  const values = [...row].map(([factor, value]) => `${factor}=${value}`).sort();
  return values.flatMap((first, index) => values.slice(index + 1).map((second) => `${first} ${second}`));
}

/**
 * A complete row that has the values given and nothing that is forbidden; undefined when there is none. Of the values that
 * are left it takes those that make the most of the pairs in `wanted`, factor by factor.
 */
export function completeRow(
  given: Row,
  factors: Factors,
  forbidden: readonly Forbidden[],
  wanted: ReadonlySet<string> = new Set(),
): Row | undefined {
  if (isForbidden(given, forbidden)) return undefined;
  const next = [...factors].find(([factor]) => !given.has(factor));
  if (next === undefined) return given;
  const [factor, values] = next;
  const choices = values
    .map((value) => new Map(given).set(factor, value))
    .map((row) => ({ row, gain: countWanted(row, wanted) }))
    .sort((a, b) => b.gain - a.gain);
  for (const { row } of choices) {
    const complete = completeRow(row, factors, forbidden, wanted);
    if (complete !== undefined) return complete;
  }
  return undefined;
}

/**
 * A few rows in which every two values meet that can meet at all: whatever goes wrong when two properties come together goes
 * wrong in one of them. Greedy, without chance: the same factors give the same rows.
 */
export function coveringArray(factors: Factors, forbidden: readonly Forbidden[]): readonly Row[] {
  const pairs = allPairs(factors);
  const uncovered = new Set(pairs.map(({ key }) => key));
  const rows: Row[] = [];
  for (const { row: given, key } of pairs) {
    if (!uncovered.has(key)) continue;
    const best = bestRow(given, factors, forbidden, uncovered);
    if (best === undefined) continue;
    rows.push(best);
    for (const covered of pairsOf(best)) uncovered.delete(covered);
  }
  return rows;
}

function bestRow(
  given: Row,
  factors: Factors,
  forbidden: readonly Forbidden[],
  uncovered: ReadonlySet<string>,
): Row | undefined {
  let best: Row | undefined;
  let most = -1;
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const row = completeRow(given, rotated(factors, attempt), forbidden, uncovered);
    if (row === undefined) return undefined;
    const gain = countWanted(row, uncovered);
    if (gain > most) [best, most] = [row, gain];
  }
  return best;
}

function rotated(factors: Factors, by: number): Factors {
  const list = [...factors];
  const at = by % list.length;
  return new Map([...list.slice(at), ...list.slice(0, at)]);
}

function countWanted(row: Row, wanted: ReadonlySet<string>): number {
  return pairsOf(row).filter((key) => wanted.has(key)).length;
}

function allPairs(factors: Factors): readonly Pair[] {
  const list = [...factors];
  return list.flatMap(([first, firstValues], index) =>
    list.slice(index + 1).flatMap(([second, secondValues]) =>
      firstValues.flatMap((a) =>
        secondValues.map((b) => {
          const row = new Map([
            [first, a],
            [second, b],
          ]);
          return { row, key: pairsOf(row).join() };
        }),
      ),
    ),
  );
}
