/** Prints a result for programs, as qemu-img does: one JSON document, indented by four. */
export function printJson(result: unknown): void {
  process.stdout.write(`${JSON.stringify(result, undefined, 4)}\n`);
}

/** Prints facts for people: a name, then what it is. */
export function printFacts(facts: readonly (readonly [name: string, value: string])[]): void {
  const width = Math.max(0, ...facts.map(([name]) => name.length));
  for (const [name, value] of facts) process.stdout.write(`${name.padEnd(width)}  ${value}\n`);
}
