import type { BlockNode } from "@blockmirror/block-driver";
import type { BlockType } from "@blockmirror/qmp";

type Stats = BlockType<"BlockStats">;

/**
 * What `query-blockstats` tells of a node. Requests are counted where guests' devices are, and a daemon has none: of a node
 * QEMU knows, as we do, how far it was written to. All members are mandatory, so all are there.
 */
export function nodeStats(node: BlockNode): Stats {
  const storage = node.child("data") ?? node.child("file") ?? node.child("filtered");
  return {
    "node-name": node.name,
    stats: {
      rd_bytes: 0,
      wr_bytes: 0,
      unmap_bytes: 0,
      rd_operations: 0,
      wr_operations: 0,
      flush_operations: 0,
      unmap_operations: 0,
      rd_total_time_ns: 0,
      wr_total_time_ns: 0,
      flush_total_time_ns: 0,
      unmap_total_time_ns: 0,
      wr_highest_offset: node.writes.highestEnd,
      rd_merged: 0,
      wr_merged: 0,
      unmap_merged: 0,
      failed_rd_operations: 0,
      failed_wr_operations: 0,
      failed_flush_operations: 0,
      failed_unmap_operations: 0,
      invalid_rd_operations: 0,
      invalid_wr_operations: 0,
      invalid_flush_operations: 0,
      invalid_unmap_operations: 0,
      account_invalid: false,
      account_failed: false,
      timed_stats: [],
    },
    ...(storage === undefined ? {} : { parent: nodeStats(storage.node) }),
  };
}
