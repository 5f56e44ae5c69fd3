import type { BlockNode } from "@blockmirror/block-driver";
import { startCommit } from "@blockmirror/mirror";
import { commandError, type BlockCommands, type CommandHandlers } from "@blockmirror/qmp";
import { jobOptions } from "../jobs/job-arguments.ts";
import { backingChain, fileName } from "../nodes/node-info.ts";
import type { NodeStore } from "../nodes/node-store.ts";
import type { DaemonParts } from "./daemon-parts.ts";

type CommitArguments = BlockCommands["block-commit"]["arguments"];

/** Folding a live overlay into an image below it. */
export function commitCommands({ graph, nodes, jobs }: DaemonParts): CommandHandlers<BlockCommands> {
  return {
    "block-commit": async (args) => {
      const options = jobOptions(args, jobs.manager);
      const top = nodes.find(args.device, "DeviceNotFound");
      for (const parent of top.parents) {
        if (parent.owner !== undefined) throw commandError("Need a root block node");
      }
      const base = chooseBase(nodes, top, args);
      if (args["backing-file"] !== undefined) {
        throw commandError("'backing-file' specified, but 'top' is the active layer");
      }
      const filterName = args["filter-node-name"];
      if (filterName !== undefined) nodes.requireFree(filterName);
      const mirror = await startCommit({
        ...options,
        graph,
        jobs: jobs.manager,
        top,
        base,
        onError: args["on-error"] ?? "report",
        ...(filterName === undefined ? {} : { filterNodeName: filterName }),
      });
      jobs.register(mirror.job, { mirror, nodes: { source: top, target: base } });
    },
  };
}

/** Checks the layers that the arguments name, by node or by file, and answers the one that takes the rest. */
function chooseBase(nodes: NodeStore, top: BlockNode, args: CommitArguments): BlockNode {
  const { "top-node": topNode, top: topFile, "base-node": baseNode, base: baseFile } = args;
  if (topNode !== undefined && topFile !== undefined) {
    throw commandError("'top-node' and 'top' are mutually exclusive");
  }
  if (baseNode !== undefined && baseFile !== undefined) {
    throw commandError("'base-node' and 'base' are mutually exclusive");
  }
  const chain = backingChain(top);
  const byFile = (file: string): BlockNode | undefined =>
    chain.find((node) => fileName(nodes, node) === file);
  const inChain = (name: string): BlockNode => {
    const node = nodes.find(name);
    if (node !== top && !chain.includes(node))
      throw commandError(`'${name}' is not in this backing file chain`);
    return node;
  };
  let from: BlockNode | undefined = top;
  if (topNode !== undefined) from = inChain(topNode);
  if (topFile !== undefined) {
    from = byFile(topFile);
    if (from === undefined) throw commandError(`Top image file ${topFile} not found`);
  }
  const isActive = from === top || from === chain[0];
  let base = chain.at(-1);
  if (baseNode !== undefined) base = inChain(baseNode);
  if (baseFile !== undefined) base = byFile(baseFile);
  if (base === undefined) throw commandError(`Can't find '${baseFile ?? ""}' in the backing chain`);
  if (base === top || base === from || base === chain[0]) {
    throw commandError("cannot commit an image into itself");
  }
  if (!isActive) {
    throw commandError("Only the active layer can be committed: 'top' below it is not supported yet");
  }
  return base;
}
