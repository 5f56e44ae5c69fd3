import type { BlockNode } from "@blockmirror/block-driver";
import { commandError, type BlockCommands, type CommandHandlers } from "@blockmirror/qmp";
import { jobOptions } from "../jobs/job-arguments.ts";
import { backingChain, fileName } from "../nodes/node-info.ts";
import type { NodeStore } from "../nodes/node-store.ts";
import type { DaemonParts } from "./daemon-parts.ts";

type StreamArguments = BlockCommands["block-stream"]["arguments"];

/** Filling an image from the layers below it. */
export function streamCommands({ graph, nodes, jobs }: DaemonParts): CommandHandlers<BlockCommands> {
  return {
    "block-stream": (args) =>
      jobs.start(async ({ startStream }) => {
        const options = jobOptions(args, jobs.manager);
        const image = nodes.find(args.device);
        const base = chooseBase(nodes, image, args);
        const backingFile = args["backing-file"];
        if (backingFile !== undefined && (base === undefined || args.bottom !== undefined)) {
          throw commandError("backing file specified, but streaming the entire chain");
        }
        const filterName = args["filter-node-name"];
        if (filterName !== undefined) nodes.requireFree(filterName);
        const job = await startStream({
          ...options,
          graph,
          jobs: jobs.manager,
          image,
          onError: args["on-error"] ?? "report",
          ...(base === undefined ? {} : { base }),
          ...(backingFile === undefined ? {} : { backingFile }),
          ...(filterName === undefined ? {} : { filterNodeName: filterName }),
        });
        jobs.register(job, { nodes: { source: image } });
      }),
  };
}

/** The layer that stays below, by node, by file, or as what the lowest layer that goes stands on. */
function chooseBase(nodes: NodeStore, image: BlockNode, args: StreamArguments): BlockNode | undefined {
  const { base: baseFile, "base-node": baseNode, bottom } = args;
  if ([baseFile, baseNode, bottom].filter((each) => each !== undefined).length > 1) {
    throw commandError("'base', 'base-node' and 'bottom' cannot be specified at the same time");
  }
  const [, ...below] = backingChain(image);
  const inChain = (name: string): BlockNode => {
    const node = nodes.find(name);
    if (below.includes(node)) return node;
    throw commandError(`Node '${name}' is not a backing image of '${image.name}'`);
  };
  if (baseFile !== undefined) {
    const found = below.find((node) => fileName(nodes, node) === baseFile);
    if (found === undefined) throw commandError(`Can't find '${baseFile}' in the backing chain`);
    return found;
  }
  if (baseNode !== undefined) return inChain(baseNode);
  return bottom === undefined ? undefined : inChain(bottom).child("backing")?.node;
}
