import {
  keepDirtyBitmap,
  MAX_BITMAP_GRANULARITY,
  MIN_BITMAP_GRANULARITY,
  type DirtyBitmap,
} from "@blockmirror/block-driver";
import { HBitmap } from "@blockmirror/hbitmap";
import { commandError, type BlockType } from "@blockmirror/qmp";
import { qcow2Details } from "../nodes/image-specific.ts";
import type { NodeStore } from "../nodes/node-store.ts";
import { findBitmap, findInconsistentBitmap, requireIdleBitmap } from "./find-bitmap.ts";

/** Something that was done, and can be taken back until it is committed. */
export interface BitmapAction {
  /** Makes it final: does what could not be taken back. */
  readonly commit?: () => void;
  /** Takes it back. */
  readonly undo?: () => void;
}

type BitmapName = BlockType<"BlockDirtyBitmap">;

const MAX_NAME_BYTES = 1023;
const DEFAULT_GRANULARITY = 65_536;

/** Adds a bitmap that follows writes from now on. */
export function addBitmap(nodes: NodeStore, args: BlockType<"BlockDirtyBitmapAdd">): BitmapAction {
  const node = nodes.find(args.node);
  const { name } = args;
  if (name === "") throw commandError("Bitmap name cannot be empty");
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) {
    throw commandError(`Bitmap name is too long: at most ${MAX_NAME_BYTES} bytes`);
  }
  const granularity = args.granularity ?? qcow2Details(node.info)?.clusterSize ?? DEFAULT_GRANULARITY;
  if (granularity < MIN_BITMAP_GRANULARITY || !Number.isInteger(Math.log2(granularity))) {
    throw commandError("Granularity must be power of 2 and at least 512");
  }
  if (granularity > MAX_BITMAP_GRANULARITY) throw commandError("Granularity must be at most 2 GiB");
  if (findBitmap(node, name) !== undefined || findInconsistentBitmap(node, name) !== undefined)
    throw commandError(`Bitmap already exists: ${name}`);
  if (args.persistent === true && node.device.bitmaps === undefined) {
    throw commandError(`Can't store persistent bitmaps to ${node.name}: Operation not supported`);
  }
  const bitmap = node.createDirtyBitmap({ name, granularity, enabled: args.disabled !== true });
  const undo = (): void => node.removeDirtyBitmap(bitmap);
  if (args.persistent !== true) return { undo };
  try {
    keepDirtyBitmap(node, bitmap);
    return { undo };
  } catch (error) {
    undo();
    throw error;
  }
}

/** Removes a bitmap, at the commit: until then it goes on following writes. */
export function removeBitmap(nodes: NodeStore, args: BitmapName): BitmapAction {
  const node = nodes.find(args.node);
  const unusable = findInconsistentBitmap(node, args.name);
  if (unusable !== undefined) return { commit: () => node.device.bitmaps?.drop(args.name) };
  const bitmap = requireIdleBitmap(node, args.name);
  bitmap.busy = true;
  return {
    commit: () => {
      bitmap.busy = false;
      node.removeDirtyBitmap(bitmap);
    },
    undo: () => {
      bitmap.busy = false;
    },
  };
}

/** Clears all bits. */
export function clearBitmap(nodes: NodeStore, args: BitmapName): BitmapAction {
  const bitmap = requireIdleBitmap(nodes.find(args.node), args.name);
  const before = copyOf(bitmap.bits);
  bitmap.bits.resetAll();
  // Merged, not put back: what was written meanwhile stays dirty.
  return { undo: () => bitmap.bits.merge(before) };
}

/** Makes a bitmap follow writes, or stop. */
export function setBitmapEnabled(nodes: NodeStore, args: BitmapName, enabled: boolean): BitmapAction {
  const bitmap = requireIdleBitmap(nodes.find(args.node), args.name);
  const before = bitmap.enabled;
  bitmap.enabled = enabled;
  return {
    undo: () => {
      bitmap.enabled = before;
    },
  };
}

/** Adds what is dirty in the sources to the target. All sources are looked up before anything is changed. */
export function mergeBitmaps(nodes: NodeStore, args: BlockType<"BlockDirtyBitmapMerge">): BitmapAction {
  const node = nodes.find(args.node);
  const target = requireIdleBitmap(node, args.target);
  const sources = args.bitmaps.map((source): DirtyBitmap =>
    typeof source === "string"
      ? requireIdleBitmap(node, source)
      : requireIdleBitmap(nodes.find(source.node), source.name),
  );
  for (const source of sources) {
    if (source.bits.size !== target.bits.size) {
      throw commandError(`Bitmaps ${source.label} and ${target.label} are of different sizes`);
    }
  }
  const before = copyOf(target.bits);
  for (const source of sources) if (source !== target) target.bits.merge(source.bits);
  return {
    undo: () => {
      target.bits.resetAll();
      target.bits.merge(before);
    },
  };
}

function copyOf(bits: HBitmap): HBitmap {
  const copy = new HBitmap({ size: bits.size, granularity: bits.granularity });
  copy.merge(bits);
  return copy;
}
