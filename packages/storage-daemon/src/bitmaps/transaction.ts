import { commandError, type BlockType } from "@blockmirror/qmp";
import type { NodeStore } from "../nodes/node-store.ts";
import {
  addBitmap,
  clearBitmap,
  mergeBitmaps,
  removeBitmap,
  setBitmapEnabled,
  type BitmapAction,
} from "./bitmap-actions.ts";

type Action = BlockType<"TransactionAction">;

/**
 * Does all actions or none, in order. It happens at one instant: no write can come in between two of them.
 *
 * @throws QmpError of the first action that is refused; those before it have been taken back then.
 */
export function runTransaction(nodes: NodeStore, actions: readonly Action[]): void {
  const done: BitmapAction[] = [];
  try {
    for (const action of actions) done.push(perform(nodes, action));
  } catch (error) {
    for (const { undo } of done.toReversed()) undo?.();
    throw error;
  }
  for (const { commit } of done) commit?.();
}

function perform(nodes: NodeStore, action: Action): BitmapAction {
  switch (action.type) {
    case "abort":
      throw commandError("Transaction aborted using Abort action");
    case "block-dirty-bitmap-add":
      return addBitmap(nodes, action.data);
    case "block-dirty-bitmap-remove":
      return removeBitmap(nodes, action.data);
    case "block-dirty-bitmap-clear":
      return clearBitmap(nodes, action.data);
    case "block-dirty-bitmap-enable":
      return setBitmapEnabled(nodes, action.data, true);
    case "block-dirty-bitmap-disable":
      return setBitmapEnabled(nodes, action.data, false);
    case "block-dirty-bitmap-merge":
      return mergeBitmaps(nodes, action.data);
  }
}
