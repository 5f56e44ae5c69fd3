import type { BlockNode, DirtyBitmap, StoredBitmap } from "@blockmirror/block-driver";
import { commandError } from "@blockmirror/qmp";

/** The user's bitmap of that name on the node, or undefined. */
export function findBitmap(node: BlockNode, name: string): DirtyBitmap | undefined {
  for (const bitmap of node.dirtyBitmaps) if (bitmap.name === name) return bitmap;
  return undefined;
}

/** A bitmap that the image stores and that cannot be trusted any more: it can be removed, and nothing else. */
export function findInconsistentBitmap(node: BlockNode, name: string): StoredBitmap | undefined {
  return inconsistentBitmaps(node).find((bitmap) => bitmap.name === name);
}

/** The bitmaps of the image that were in use when it was last closed out of order. */
export function inconsistentBitmaps(node: BlockNode): readonly StoredBitmap[] {
  return (node.device.bitmaps?.list() ?? []).filter(
    ({ name, inconsistent }) => inconsistent && findBitmap(node, name) === undefined,
  );
}

/** @throws QmpError of class `GenericError` when there is none, or it cannot be trusted. */
export function requireBitmap(node: BlockNode, name: string): DirtyBitmap {
  const bitmap = findBitmap(node, name);
  if (bitmap === undefined && findInconsistentBitmap(node, name) !== undefined) {
    throw commandError(`Bitmap '${name}' is inconsistent and cannot be used; remove it`);
  }
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
