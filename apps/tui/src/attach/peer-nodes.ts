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

/** Children by the names of their edges. */
type Children = ReadonlyMap<string, string>;

/** Reads `x-debug-query-block-graph`: the nodes that jobs and other nodes hold, by the names of those who hold them. */
export function readBlockGraph(answer: unknown): {
  readonly ofJobs: ReadonlyMap<string, Children>;
  readonly ofNodes: ReadonlyMap<string, Children>;
} {
  const graph = asObject(answer);
  const jobIds = new Map<number, string>();
  const nodeNames = new Map<number, string>();
  for (const vertex of asObjects(graph?.["nodes"])) {
    const id = numberOf(vertex, "id");
    const name = textOf(vertex, "name");
    if (id === undefined || name === undefined) continue;
    const type = textOf(vertex, "type");
    if (type === "block-job") jobIds.set(id, name);
    // The backend of a machine's drive has a name as well, and is no node.
    else if (type !== "block-backend") nodeNames.set(id, name);
  }
  const ofJobs = new Map<string, Map<string, string>>();
  const ofNodes = new Map<string, Map<string, string>>();
  for (const edge of asObjects(graph?.["edges"])) {
    const parent = numberOf(edge, "parent") ?? -1;
    const child = nodeNames.get(numberOf(edge, "child") ?? -1);
    const role = textOf(edge, "name");
    const [all, name] = jobIds.has(parent) ? [ofJobs, jobIds.get(parent)] : [ofNodes, nodeNames.get(parent)];
    if (name === undefined || child === undefined || role === undefined) continue;
    const children = all.get(name) ?? new Map<string, string>();
    all.set(name, children.set(role, child));
  }
  return { ofJobs, ofNodes };
}

/**
 * Finds the images of every job in `x-debug-query-block-graph`, described by `query-named-block-nodes`. The first is
 * called unstable by QEMU and is the only place where a job's nodes are told.
 */
export function sidesOfJobs(graphAnswer: unknown, nodesAnswer: unknown): ReadonlyMap<string, JobSides> {
  const described = describeNodes(nodesAnswer);
  const side = (children: Children, roles: readonly string[]): JobNode | undefined => {
    const name = roles.map((role) => children.get(role)).find((found) => found !== undefined);
    return name === undefined ? undefined : (described.get(name) ?? { name });
  };
  return new Map(
    [...readBlockGraph(graphAnswer).ofJobs].map(([job, children]) => [
      job,
      { source: side(children, SOURCE_EDGES), target: side(children, TARGET_EDGES) },
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

/** Reads `query-block`: what a machine's drives and devices use, as node by the name that commands take for it. */
export function readDrives(answer: unknown): ReadonlyMap<string, string> {
  const drives = new Map<string, string>();
  for (const entry of asObjects(answer)) {
    const node = textOf(asObject(entry["inserted"]), "node-name");
    if (node === undefined) continue;
    const device = textOf(entry, "device") ?? "";
    drives.set(device === "" ? node : device, node);
  }
  return drives;
}
