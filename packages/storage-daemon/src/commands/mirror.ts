import type { BlockNode } from "@blockmirror/block-driver";
import type { SyncMode } from "@blockmirror/mirror";
import { commandError, type BlockCommands, type BlockType, type CommandHandlers } from "@blockmirror/qmp";
import type { DaemonParts } from "./daemon-parts.ts";
import type { CopyingJobs } from "../jobs/load-jobs.ts";
import { jobOptions, type JobArguments } from "../jobs/job-arguments.ts";
import { startFailingJob } from "../jobs/failing-job.ts";
import { prepareDriveMirrorTarget, type DriveMirrorTarget } from "../nodes/drive-mirror-target.ts";
import { safeInteger } from "../safe-integer.ts";

type MirrorArguments = BlockCommands["blockdev-mirror"]["arguments"];

const MIN_GRANULARITY = 512;
const MAX_GRANULARITY = 64 * 1024 * 1024;

/** Starting mirrors, to a node or to a file. */
export function mirrorCommands(daemon: DaemonParts): CommandHandlers<BlockCommands> {
  const { nodes, jobs } = daemon;
  return {
    "blockdev-mirror": (args) =>
      jobs.start(async ({ startMirror }) => {
        const options = checkMirror(daemon, args);
        await mirrorTo(daemon, startMirror, options, {
          node: nodes.find(args.target),
          isZero: args["target-is-zero"] === true,
          // Whoever opened the target has decided what it stands on.
          backingMode: "leave",
        });
      }),
    "drive-mirror": (args) =>
      jobs.start(async ({ startMirror }) => {
        const options = checkMirror(daemon, args);
        const target = await prepareDriveMirrorTarget(nodes, options.source, args);
        try {
          await mirrorTo(daemon, startMirror, options, target);
        } catch (error) {
          await target.undo();
          throw error;
        }
        await target.handOver();
      }),
  };
}

/** Everything about a mirror that can be checked before its target is looked at. */
interface CheckedMirror {
  readonly source: BlockNode;
  readonly job: ReturnType<typeof jobOptions>;
  readonly sync: SyncMode;
  /** Whose users are switched, if not the source's. */
  readonly replaces: BlockNode | undefined;
  readonly args: Omit<MirrorArguments, "target" | "target-is-zero">;
}

function checkMirror(
  { nodes, graph, jobs }: DaemonParts,
  args: Omit<MirrorArguments, "target" | "target-is-zero"> & JobArguments,
): CheckedMirror {
  const source = nodes.find(args.device);
  const job = jobOptions(args, jobs.manager);
  const granularity = args.granularity ?? 0;
  if (granularity !== 0) {
    if (granularity < MIN_GRANULARITY || granularity > MAX_GRANULARITY) {
      throw commandError("Parameter 'granularity' expects a value in range [512B, 64MB]");
    }
    if (!Number.isInteger(Math.log2(granularity))) {
      throw commandError("Parameter 'granularity' expects a power of 2");
    }
  }
  if (safeInteger("buf-size", args["buf-size"] ?? 0) < 0) throw commandError("Invalid parameter 'buf-size'");
  for (const parent of source.parents) {
    if (parent.owner !== undefined) throw commandError("Need a root block node");
  }
  const filterName = args["filter-node-name"];
  if (filterName !== undefined) nodes.requireFree(filterName);
  const replaces = args.replaces === undefined ? undefined : graph.find(args.replaces);
  if (args.replaces !== undefined && replaces === undefined) {
    throw commandError(`Failed to find node with node-name='${args.replaces}'`);
  }
  return { source, job, sync: syncMode(args.sync), replaces, args };
}

/** QEMU knows `bitmap` and `incremental` as words, for backups only. */
function syncMode(sync: BlockType<"MirrorSyncMode">): SyncMode {
  if (sync === "full" || sync === "none" || sync === "top") return sync;
  throw commandError(`Sync mode '${sync}' not supported`);
}

async function mirrorTo(
  { graph, jobs }: DaemonParts,
  startMirror: CopyingJobs["startMirror"],
  { source, job: options, sync, replaces, args }: CheckedMirror,
  { node: target, isZero: targetIsZero, backingMode }: Omit<DriveMirrorTarget, "undo" | "handOver">,
): Promise<void> {
  if (source === target) throw commandError("Can't mirror node into itself");
  if (target.info.readOnly) throw commandError("Block node is read-only");
  if (source.size !== target.size) {
    const reason = "Source and target image have different sizes";
    jobs.register(startFailingJob(jobs.manager, "mirror", reason, options), { nodes: { source, target } });
    return;
  }
  const filterName = args["filter-node-name"];
  const mirror = await startMirror({
    ...options,
    graph,
    jobs: jobs.manager,
    source,
    target,
    sync,
    granularity: args.granularity ?? 0,
    bufferSize: safeInteger("buf-size", args["buf-size"] ?? 0),
    onSourceError: args["on-source-error"] ?? "report",
    onTargetError: args["on-target-error"] ?? "report",
    targetIsZero,
    backingMode,
    ...(replaces === undefined ? {} : { replaces }),
    ...(filterName === undefined ? {} : { filterNodeName: filterName }),
    copyMode: args["copy-mode"] ?? "background",
  });
  jobs.register(mirror.job, { mirror, nodes: { source, target } });
}
