import type { BlockNode, DirtyBitmap } from "@blockmirror/block-driver";
import { commandError } from "@blockmirror/qmp";

/** The user's bitmap of that name on the node, or undefined. */
export function findBitmap(node: BlockNode, name: string): DirtyBitmap | undefined {
  for (const bitmap of node.dirtyBitmaps) if (bitmap.name === name) return bitmap;
  return undefined;
}

/** @throws QmpError of class `GenericError` when there is none. */
export function requireBitmap(node: BlockNode, name: string): DirtyBitmap {
  const bitmap = findBitmap(node, name);
  if (bitmap === undefined) throw commandError(`Dirty bitmap '${name}' not found`);
  return bitmap;
}

/** @throws QmpError of class `GenericError` when there is none, or an operation uses it. */
export function requireIdleBitmap(node: BlockNode, name: string): DirtyBitmap {
  const bitmap = requireBitmap(node, name);
  if (bitmap.busy) {
    throw commandError(`Bitmap '${name}' is currently in use by another operation and cannot be used`);
  }
  return bitmap;
}
