import type { BlockGraph } from "@blockmirror/block-driver";
import type { QmpVersion } from "@blockmirror/qmp";
import type { BlockJobs } from "../jobs/block-jobs.ts";
import type { NodeStore } from "../nodes/node-store.ts";

/** What commands work on: the daemon as they see it. */
export interface DaemonParts {
  readonly graph: BlockGraph;
  readonly nodes: NodeStore;
  readonly jobs: BlockJobs;
  readonly version: QmpVersion;
  /** Ends jobs and exports; the rest follows after the answer. */
  quit(): Promise<void>;
}
