import type { BlockNode } from "@blockmirror/block-driver";
import { commandError, type BlockCommands, type CommandHandlers } from "@blockmirror/qmp";
import { jobOptions } from "../jobs/job-arguments.ts";
import { backingChain, fileName } from "../nodes/node-info.ts";
import type { NodeStore } from "../nodes/node-store.ts";
import type { DaemonParts } from "./daemon-parts.ts";

type CommitArguments = BlockCommands["block-commit"]["arguments"];

/** Folding an overlay, or a layer that others stand on, into an image below it. */
export function commitCommands({ graph, nodes, jobs }: DaemonParts): CommandHandlers<BlockCommands> {
  return {
    "block-commit": (args) =>
      jobs.start(async ({ startCommit }) => {
        const options = jobOptions(args, jobs.manager);
        const active = nodes.find(args.device, "DeviceNotFound");
        for (const parent of active.parents) {
          if (parent.owner !== undefined) throw commandError("Need a root block node");
        }
        const { top, base, isActive } = chooseLayers(nodes, active, args);
        const backingFile = args["backing-file"];
        if (backingFile !== undefined && isActive) {
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
          ...(backingFile === undefined ? {} : { backingFile }),
          ...(filterName === undefined ? {} : { filterNodeName: filterName }),
        });
        jobs.register(mirror.job, { mirror, nodes: { source: top, target: base } });
      }),
  };
}

interface Layers {
  readonly top: BlockNode;
  readonly base: BlockNode;
  /** The live overlay itself is folded. */
  readonly isActive: boolean;
}

/** Checks the layers that the arguments name, by node or by file. */
function chooseLayers(nodes: NodeStore, active: BlockNode, args: CommitArguments): Layers {
  const { "top-node": topNode, top: topFile, "base-node": baseNode, base: baseFile } = args;
  if (topNode !== undefined && topFile !== undefined) {
    throw commandError("'top-node' and 'top' are mutually exclusive");
  }
  if (baseNode !== undefined && baseFile !== undefined) {
    throw commandError("'base-node' and 'base' are mutually exclusive");
  }
  const chain = backingChain(active);
  const byFile = (file: string): BlockNode | undefined =>
    chain.find((node) => fileName(nodes, node) === file);
  const inChain = (name: string): BlockNode => {
    const node = nodes.find(name);
    if (node !== active && !chain.includes(node))
      throw commandError(`'${name}' is not in this backing file chain`);
    return node;
  };
  let top: BlockNode | undefined = active;
  if (topNode !== undefined) top = inChain(topNode);
  if (topFile !== undefined) {
    top = byFile(topFile);
    if (top === undefined) throw commandError(`Top image file ${topFile} not found`);
  }
  const isActive = top === active || top === chain[0];
  let base = chain.at(-1);
  if (baseNode !== undefined) base = inChain(baseNode);
  if (baseFile !== undefined) base = byFile(baseFile);
  if (base === undefined) throw commandError(`Can't find '${baseFile ?? ""}' in the backing chain`);
  if (base === top || base === chain[0]) throw commandError("cannot commit an image into itself");
  if (!isActive && chain.indexOf(base) < chain.indexOf(top)) {
    throw commandError(`'${base.name}' is not in this backing file chain`);
  }
  return { top: isActive ? active : top, base, isActive };
}
