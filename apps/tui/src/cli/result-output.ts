/** Prints a result for programs, as qemu-img does: one JSON document, indented by four. */
export function printJson(result: unknown): void {
  process.stdout.write(`${JSON.stringify(result, undefined, 4)}\n`);
}

/** Prints facts for people: a name, then what it is. */
export function printFacts(facts: readonly (readonly [name: string, value: string])[]): void {
  const width = Math.max(0, ...facts.map(([name]) => name.length));
  for (const [name, value] of facts) process.stdout.write(`${name.padEnd(width)}  ${value}\n`);
}

/** Prints a table for people: numbers to the right, everything else to the left. */
export function printTable(header: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  for (const row of [header, ...rows]) {
    const cells = row.map((cell, column) => cell.padEnd(widths[column] ?? 0));
    process.stdout.write(`${cells.join("  ").trimEnd()}\n`);
  }
}
