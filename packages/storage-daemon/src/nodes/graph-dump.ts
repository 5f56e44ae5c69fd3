import { ALL_PERMISSIONS, type BlockEdge, type BlockNode, type Permission } from "@blockmirror/block-driver";
import type { BlockType } from "@blockmirror/qmp";
import type { BlockJobs } from "../jobs/block-jobs.ts";

type Graph = BlockType<"XDbgBlockGraph">;
type GraphNode = Graph["nodes"][number];
type GraphEdge = Graph["edges"][number];

const PERMISSION_NAMES: Readonly<Record<Permission, BlockType<"BlockPermission">>> = {
  read: "consistent-read",
  write: "write",
  "write-unchanged": "write-unchanged",
  resize: "resize",
};

/** Names of permissions in the bits that edges keep them in. */
function permissions(mask: number): BlockType<"BlockPermission">[] {
  return ALL_PERMISSIONS.filter((_permission, bit) => (mask & (1 << bit)) !== 0).map(
    (permission) => PERMISSION_NAMES[permission],
  );
}

/** What QMP calls the edge to a child: the node that a job's filter presents is its `backing`, as QEMU shows it. */
function edgeName(owner: BlockNode, edge: BlockEdge): string {
  if (edge.role === "filtered") return owner.info.driver.endsWith("_top") ? "backing" : "file";
  return edge.role === "data" ? "data-file" : (edge.role ?? "root");
}

/** The graph as `x-debug-query-block-graph` shows it: nodes, jobs, and everybody else who uses a node. */
export function dumpGraph(all: readonly BlockNode[], jobs: BlockJobs): Graph {
  const nodes: GraphNode[] = [];
  const edges: GraphEdge[] = [];
  const ids = new Map<unknown, number>();
  const add = (key: unknown, type: GraphNode["type"], name: string): number => {
    const known = ids.get(key);
    if (known !== undefined) return known;
    const id = ids.size + 1;
    ids.set(key, id);
    nodes.push({ id, type, name });
    return id;
  };
  for (const node of all) add(node, "block-driver", node.name);
  for (const node of all) {
    const child = ids.get(node) ?? 0;
    for (const edge of node.parents) {
      const claim = { perm: permissions(edge.uses), "shared-perm": permissions(edge.shares) };
      if (edge.owner !== undefined) {
        edges.push({ parent: ids.get(edge.owner) ?? 0, child, name: edgeName(edge.owner, edge), ...claim });
        continue;
      }
      const job = jobs.userOf(edge);
      const parent =
        job === undefined ? add(edge, "block-backend", edge.parentName) : add(job.id, "block-job", job.id);
      edges.push({ parent, child, name: job === undefined ? "root" : job.roleOf(node), ...claim });
    }
  }
  return { nodes, edges };
}
