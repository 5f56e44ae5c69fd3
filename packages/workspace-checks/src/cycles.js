/**
 * Every circle in a directed graph, once each, as the names on the way round with the first repeated at the end.
 * One circle per strongly connected component and back edge: enough to find and break each.
 *
 * @param {ReadonlyMap<string, Iterable<string>>} edges
 * @returns {string[][]}
 */
export function findCycles(edges) {
  /** @type {Map<string, "open" | "done">} */
  const state = new Map();
  /** @type {string[]} */
  const path = [];
  /** @type {string[][]} */
  const cycles = [];

  /** @param {string} name */
  const visit = (name) => {
    if (state.get(name) === "done") return;
    if (state.get(name) === "open") {
      cycles.push([...path.slice(path.indexOf(name)), name]);
      return;
    }
    state.set(name, "open");
    path.push(name);
    for (const next of edges.get(name) ?? []) visit(next);
    path.pop();
    state.set(name, "done");
  };

  for (const name of edges.keys()) visit(name);
  return cycles;
}
