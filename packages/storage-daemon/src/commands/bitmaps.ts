import { sha256 } from "@blockmirror/hbitmap";
import type { BlockCommands, CommandHandlers } from "@blockmirror/qmp";
import type { DaemonParts } from "./daemon-parts.ts";
import {
  addBitmap,
  clearBitmap,
  mergeBitmaps,
  removeBitmap,
  setBitmapEnabled,
} from "../bitmaps/bitmap-actions.ts";
import { requireBitmap } from "../bitmaps/find-bitmap.ts";
import { runTransaction } from "../bitmaps/transaction.ts";

/** Dirty bitmaps, and transactions of what is done to them. Each command is a transaction of one action. */
export function bitmapCommands({ nodes }: DaemonParts): CommandHandlers<BlockCommands> {
  return {
    "block-dirty-bitmap-add": (args) => addBitmap(nodes, args).commit?.(),
    "block-dirty-bitmap-remove": (args) => removeBitmap(nodes, args).commit?.(),
    "block-dirty-bitmap-clear": (args) => clearBitmap(nodes, args).commit?.(),
    "block-dirty-bitmap-enable": (args) => setBitmapEnabled(nodes, args, true).commit?.(),
    "block-dirty-bitmap-disable": (args) => setBitmapEnabled(nodes, args, false).commit?.(),
    "block-dirty-bitmap-merge": (args) => mergeBitmaps(nodes, args).commit?.(),
    "x-debug-block-dirty-bitmap-sha256": ({ node, name }) => ({
      sha256: sha256(requireBitmap(nodes.find(node), name).bits),
    }),
    transaction: ({ actions }) => runTransaction(nodes, actions),
  };
}
