import { UsageError } from "./exit-status.ts";

/** Letters that a slip of the finger gets wrong at most. */
const MOST_SLIPS = 2;

/** The error about a word that is no command; names the command it resembles, if one does. */
export function unknownCommand(word: string, commands: Iterable<string>): UsageError {
  const [nearest] = Array.from(commands, (name) => ({ name, distance: editDistance(word, name) })).toSorted(
    (one, other) => one.distance - other.distance,
  );
  const remedy =
    nearest !== undefined && nearest.distance <= MOST_SLIPS
      ? `did you mean ${nearest.name}?`
      : "see blockmirror --help for those there are";
  return new UsageError(`there is no command '${word}'; ${remedy}`);
}

/** Characters to insert, delete or replace that turn one word into the other. */
function editDistance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, column) => column);
  for (const [index, letter] of Array.from(one).entries()) {
    const next = [index + 1];
    for (const [column, candidate] of Array.from(other).entries()) {
      const replaced = (row[column] ?? 0) + (letter === candidate ? 0 : 1);
      next.push(Math.min(replaced, (row[column + 1] ?? 0) + 1, (next[column] ?? 0) + 1));
    }
    row = next;
  }
  return row[other.length] ?? 0;
}
