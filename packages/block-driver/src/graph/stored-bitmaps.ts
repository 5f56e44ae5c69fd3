import { BlockError } from "../errors.ts";
import { type DirtyBitmap, MAX_BITMAP_GRANULARITY, MIN_BITMAP_GRANULARITY } from "./dirty-bitmap.ts";
import type { BlockNode } from "./node.ts";

/** Bytes of memory for bitmaps that are loaded because an image is opened for writing. */
const MEMORY_LIMIT = 256 * 1024 * 1024;

/**
 * Attaches the dirty bitmaps that an image stores to its node, so that they follow its writes and are stored again when it
 * is closed. Those that were in use are left alone. What does not fit into memory, or cannot be read, is left alone too
 * and reported: it is marked as in use before the first write.
 */
export async function attachStoredBitmaps(node: BlockNode): Promise<void> {
  const store = node.device.bitmaps;
  if (store === undefined || store.isReadOnly === true || node.info.readOnly) return;
  let memory = 0;
  for (const { name, granularity, recording, inconsistent } of store.list()) {
    if (inconsistent) continue;
    const needed = node.size / granularity / 8;
    if (
      granularity < MIN_BITMAP_GRANULARITY ||
      granularity > MAX_BITMAP_GRANULARITY ||
      memory + needed > MEMORY_LIMIT
    ) {
      node.report({
        type: "warning",
        message: `bitmap '${name}' of node '${node.name}' is not loaded: the bitmaps of this image take too much memory`,
      });
      continue;
    }
    memory += needed;
    const bitmap = node.createDirtyBitmap({ name, granularity, enabled: recording });
    try {
      await store.load(name, bitmap.bits);
      keepDirtyBitmap(node, bitmap);
    } catch (error) {
      node.removeDirtyBitmap(bitmap);
      if (!(error instanceof BlockError) || error.code !== "BLK_CORRUPT") throw error;
      node.report({ type: "warning", message: error.message });
    }
  }
}

/**
 * Loads a dirty bitmap that the device of a node stores, as it is now, and attaches a copy to the node under its name: one that
 * follows no writes and is stored nowhere. It is what a mirror with `sync: "bitmap"` starts from.
 *
 * For images that are open for reading only, and for servers whose bitmaps are not ours; an image that is open for writing
 * has its own attached already.
 * @throws BlockError `ENOENT` without one of that name, `EEXIST` when one is attached, `BLK_CORRUPT` when it is inconsistent or
 * cannot be read.
 */
export async function loadDirtyBitmap(node: BlockNode, name: string): Promise<DirtyBitmap> {
  const store = node.device.bitmaps;
  const stored = store?.list().find((each) => each.name === name);
  if (store === undefined || stored === undefined) {
    throw new BlockError("ENOENT", `node '${node.name}' stores no dirty bitmap '${name}'`, {
      node: node.name,
    });
  }
  const bitmap = node.createDirtyBitmap({ name, granularity: stored.granularity, enabled: false });
  try {
    await store.load(name, bitmap.bits);
  } catch (error) {
    node.removeDirtyBitmap(bitmap);
    throw error;
  }
  return bitmap;
}

/**
 * Makes a dirty bitmap of a node persistent: it is stored in the node's image when that is closed, and attached again when
 * the image is opened for writing. Removing it from the node removes it from the image.
 * @throws BlockError `ENOTSUP` when the driver stores no bitmaps, or what {@link BitmapStore.keep} refuses.
 */
export function keepDirtyBitmap(node: BlockNode, bitmap: DirtyBitmap): void {
  if (!node.dirtyBitmaps.has(bitmap)) {
    throw new TypeError(`the dirty bitmap ${bitmap.label} is not attached to node '${node.name}'`);
  }
  const store = node.device.bitmaps;
  if (store === undefined) {
    throw new BlockError(
      "ENOTSUP",
      `driver '${node.info.driver}' of node '${node.name}' stores no dirty bitmaps; use a qcow2 image`,
      { node: node.name },
    );
  }
  store.keep(bitmap);
  bitmap.persistent = true;
}
