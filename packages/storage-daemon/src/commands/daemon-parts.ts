import type { BlockGraph } from "@blockmirror/block-driver";
import type { BlockEvents, QmpVersion } from "@blockmirror/qmp";
import type { BlockJobs } from "../jobs/block-jobs.ts";
import type { BlockExports } from "../exports/block-exports.ts";
import type { NodeStore } from "../nodes/node-store.ts";
import type { ObjectStore } from "../objects/object-store.ts";

/** What commands work on: the daemon as they see it. */
export interface DaemonParts {
  readonly graph: BlockGraph;
  readonly nodes: NodeStore;
  readonly jobs: BlockJobs;
  readonly exports: BlockExports;
  readonly objects: ObjectStore;
  readonly version: QmpVersion;
  /** Tells every client of an event. */
  broadcast<Name extends keyof BlockEvents>(name: Name, data: BlockEvents[Name]): void;
  /** Ends jobs and exports; the rest follows after the answer. */
  quit(): Promise<void>;
}
