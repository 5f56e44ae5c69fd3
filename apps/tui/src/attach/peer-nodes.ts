import type { JobNode } from "../job-source/job-source.ts";
import { asObject, asObjects, numberOf, textOf } from "./peer-answers.ts";

/** Both sides of a job, as far as a peer tells. */
export interface JobSides {
  readonly source: JobNode | undefined;
  readonly target: JobNode | undefined;
}

/** Names of the edges by which jobs hold their images, as QEMU names them. */
const SOURCE_EDGES: readonly string[] = ["source", "active", "top", "main node"];
const TARGET_EDGES: readonly string[] = ["target", "base"];

/**
 * Finds the images of every job in `x-debug-query-block-graph`, described by `query-named-block-nodes`. The first is
 * called unstable by QEMU and is the only place where a job's nodes are told.
 */
export function sidesOfJobs(graphAnswer: unknown, nodesAnswer: unknown): ReadonlyMap<string, JobSides> {
  const graph = asObject(graphAnswer);
  const jobIds = new Map<number, string>();
  const nodeNames = new Map<number, string>();
  for (const vertex of asObjects(graph?.["nodes"])) {
    const id = numberOf(vertex, "id");
    const name = textOf(vertex, "name");
    if (id === undefined || name === undefined) continue;
    (textOf(vertex, "type") === "block-job" ? jobIds : nodeNames).set(id, name);
  }
  const children = new Map<string, Map<string, string>>();
  for (const edge of asObjects(graph?.["edges"])) {
    const job = jobIds.get(numberOf(edge, "parent") ?? -1);
    const child = nodeNames.get(numberOf(edge, "child") ?? -1);
    const role = textOf(edge, "name");
    if (job === undefined || child === undefined || role === undefined) continue;
    const roles = children.get(job) ?? new Map<string, string>();
    children.set(job, roles.set(role, child));
  }
  const described = describeNodes(nodesAnswer);
  const side = (roles: ReadonlyMap<string, string>, names: readonly string[]): JobNode | undefined => {
    const name = names.map((role) => roles.get(role)).find((found) => found !== undefined);
    return name === undefined ? undefined : (described.get(name) ?? { name });
  };
  return new Map(
    [...children].map(([job, roles]) => [
      job,
      { source: side(roles, SOURCE_EDGES), target: side(roles, TARGET_EDGES) },
    ]),
  );
}

/** Reads `query-named-block-nodes` by node name. */
export function describeNodes(answer: unknown): ReadonlyMap<string, JobNode> {
  const nodes = new Map<string, JobNode>();
  for (const entry of asObjects(answer)) {
    const name = textOf(entry, "node-name");
    if (name === undefined) continue;
    const image = asObject(entry["image"]);
    nodes.set(name, {
      name,
      driver: textOf(entry, "drv"),
      size: numberOf(image, "virtual-size"),
      filename: textOf(image, "filename") ?? textOf(entry, "file"),
    });
  }
  return nodes;
}
