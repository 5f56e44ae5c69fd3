import { BlockError, type BlockNode } from "@blockmirror/block-driver";
import { commandError, type BlockCommands, type CommandHandlers, type QmpInteger } from "@blockmirror/qmp";
import type { DaemonParts } from "./daemon-parts.ts";
import { backingChain, describeNode, formatOf } from "../nodes/node-info.ts";
import { nodeStats } from "../nodes/node-stats.ts";
import { dumpGraph } from "../nodes/graph-dump.ts";
import { reopenNodes } from "../nodes/reopen.ts";
import { safeInteger } from "../safe-integer.ts";

/** Making, removing, resizing and showing nodes. */
export function nodeCommands(daemon: DaemonParts): CommandHandlers<BlockCommands> {
  const { nodes, jobs, graph } = daemon;
  return {
    "blockdev-add": async (options) => {
      await nodes.add(options);
    },
    "blockdev-del": async ({ "node-name": name }) => {
      const node = graph.find(name);
      const blocker = node === undefined ? undefined : jobs.blockerOf(node);
      if (blocker !== undefined) {
        throw commandError(
          `Node '${name}' is busy: block device is in use by block job: ${blocker.job.type}`,
        );
      }
      await nodes.remove(name);
    },
    "blockdev-reopen": ({ options }) => reopenNodes(nodes, options),
    "change-backing-file": async ({ device, "image-node-name": imageName, "backing-file": file }) => {
      const top = nodes.find(device);
      const image = nodes.find(imageName);
      if (!backingChain(top).includes(image))
        throw commandError(`Node '${imageName}' is not in the chain of '${device}'`);
      const backing = image.child("backing")?.node;
      if (backing === undefined) {
        throw commandError("not allowing backing file change on an image without a backing file");
      }
      const { readOnly } = image.info;
      if (readOnly) await graph.reopen(image, { readOnly: false });
      try {
        await graph.changeBackingFile(image, { filename: file, format: formatOf(backing) });
      } finally {
        if (readOnly) await graph.reopen(image, { readOnly: true });
      }
    },
    // `device` would name a guest's device, and there is none.
    block_resize: async ({ device, "node-name": nodeName, size }) => {
      if (nodeName === undefined) throw commandError(`Cannot find device='${device ?? ""}' nor node-name=''`);
      await resizeNode(nodes.find(nodeName), size);
    },
    "query-named-block-nodes": ({ flat }) =>
      graph
        .nodes()
        .filter((node) => node.isOpen)
        .toReversed()
        .map((node) => describeNode(nodes, node, flat === true)),
    // Guests' devices are listed here, and a daemon has none.
    "query-block": () => [],
    "query-blockstats": ({ "query-nodes": queryNodes }) =>
      queryNodes === true
        ? graph
            .nodes()
            .filter((node) => node.isOpen)
            .map((node) => nodeStats(node))
        : [],
    "block-set-write-threshold": ({ "node-name": name, "write-threshold": asked }) => {
      const { writes } = nodes.find(name);
      const threshold = safeInteger("write-threshold", asked);
      writes.watch(threshold, (amount) => {
        daemon.broadcast("BLOCK_WRITE_THRESHOLD", {
          "node-name": name,
          "amount-exceeded": amount,
          "write-threshold": threshold,
        });
      });
    },
    "x-debug-query-block-graph": () => dumpGraph(graph.nodes(), jobs),
  };

  async function resizeNode(node: BlockNode, size: QmpInteger): Promise<void> {
    const bytes = safeInteger("size", size);
    if (bytes < 0) throw commandError("Parameter 'size' expects a >0 size");
    if (node.info.readOnly) {
      throw new BlockError("EROFS", `Node '${node.name}' is read-only and cannot be resized`, {
        node: node.name,
        operation: "resize",
      });
    }
    const edge = graph.attach(node, {
      name: "block_resize",
      uses: ["resize"],
      shares: ["read", "write", "write-unchanged"],
    });
    try {
      await edge.resize(bytes);
    } finally {
      await graph.detach(edge);
    }
  }
}
