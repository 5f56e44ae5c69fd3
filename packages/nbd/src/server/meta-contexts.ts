import {
  ExtentFlag,
  ExtentList,
  skipFilters,
  StatusResolver,
  type BlockNode,
  type DirtyBitmap,
  type ExtentFlags,
} from "@blockmirror/block-driver";
import {
  ALLOCATION_DEPTH,
  AllocationFlag,
  BASE_ALLOCATION,
  DIRTY_BITMAP_PREFIX,
} from "../protocol/constants.ts";

/** Extents of one context, as BLOCK_STATUS answers them. */
export class ContextExtents {
  /** Greatest number of extents in one answer. */
  readonly capacity: number;
  readonly lengths: Float64Array;
  readonly flags: Uint32Array;
  count = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.lengths = new Float64Array(capacity);
    this.flags = new Uint32Array(capacity);
  }

  /** Adds an extent behind the others, merged with the last one where their flags agree; false when there is no room. */
  append(length: number, flags: number): boolean {
    if (length <= 0) return true;
    const last = this.count - 1;
    if (last >= 0 && this.flags[last] === flags) {
      this.lengths[last] = (this.lengths[last] ?? 0) + length;
      return true;
    }
    if (this.count === this.capacity) return false;
    this.lengths[this.count] = length;
    this.flags[this.count] = flags;
    this.count += 1;
    return true;
  }
}

/** A kind of block status that an export offers under a name. */
export interface MetaContext {
  readonly name: string;
  /**
   * Describes `[offset, offset + length)` of the node from `offset` on; may stop early, but describes at least one byte. The
   * extents stay inside the range.
   */
  describe(node: BlockNode, offset: number, length: number, into: ContextExtents): Promise<void>;
}

/** Questions to the node for one answer: a node that answers in small steps must not make a client wait for long. */
const MAX_ROUNDS = 64;

/** A node tells apart what the protocol does not, such as where data is stored: even one extent can take several of its. */
function listCapacity(into: ContextExtents): number {
  return Math.max(into.capacity, 256);
}

/** Where there are holes and zeroes: `base:allocation`. */
export const baseAllocation: MetaContext = {
  name: BASE_ALLOCATION,
  async describe(node, offset, length, into) {
    const extents = new ExtentList(listCapacity(into));
    const resolver = new StatusResolver();
    const end = offset + length;
    for (let at = offset, round = 0; at < end && round < MAX_ROUNDS; at = extents.next, round += 1) {
      await resolver.resolve(node, at, end - at, extents);
      for (let index = 0; index < extents.count; index += 1) {
        if (!into.append(extents.lengthAt(index), allocationFlags(extents.flagsAt(index)))) return;
      }
    }
  },
};

function allocationFlags(flags: ExtentFlags): number {
  if ((flags & ExtentFlag.Zero) === 0) return 0;
  // An image that has the space, though its file has not, has no hole.
  return (flags & ExtentFlag.Hollow) === 0 ? AllocationFlag.Hole | AllocationFlag.Zero : AllocationFlag.Zero;
}

/** Which layer of the backing chain provides the data: `qemu:allocation-depth`. */
export const allocationDepth: MetaContext = {
  name: ALLOCATION_DEPTH,
  async describe(node, offset, length, into) {
    const bottom = bottomOf(node);
    const extents = new ExtentList(listCapacity(into));
    // Above the lowest layer the walk tells which layer holds a range; the lowest one has to be asked itself.
    const above = bottom.node === skipFilters(node) ? undefined : bottom.node;
    if (above === undefined) {
      await describeBottom(bottom, offset, length, into);
      return;
    }
    await new StatusResolver().resolve(node, offset, length, extents, { above });
    for (let index = 0; index < extents.count; index += 1) {
      const isDeferred = (extents.flagsAt(index) & ExtentFlag.Deferred) !== 0;
      const extentLength = extents.lengthAt(index);
      if (!isDeferred) {
        if (!into.append(extentLength, extents.depthAt(index) + 1)) return;
      } else if (!(await describeBottom(bottom, extents.offsetAt(index), extentLength, into))) {
        return;
      }
    }
  },
};

interface Bottom {
  readonly node: BlockNode;
  readonly depth: number;
}

/** The lowest layer of a chain, and how many layers are above it. */
function bottomOf(top: BlockNode): Bottom {
  let node = skipFilters(top);
  let depth = 0;
  for (let below = node.child("backing"); below !== undefined; below = node.child("backing")) {
    node = skipFilters(below.node);
    depth += 1;
  }
  return { node, depth };
}

/** Appends what the lowest layer itself holds; false when there was no room for all of it. */
async function describeBottom(
  { node, depth }: Bottom,
  offset: number,
  length: number,
  into: ContextExtents,
): Promise<boolean> {
  const list = new ExtentList(listCapacity(into));
  const end = offset + length;
  const inside = Math.min(end, node.size);
  for (let at = offset; at < inside; at = list.next) {
    await node.status(at, inside - at, list);
    list.clip(inside);
    for (let index = 0; index < list.count; index += 1) {
      const isHeld = (list.flagsAt(index) & ExtentFlag.Deferred) === 0;
      if (!into.append(list.lengthAt(index), isHeld ? depth + 1 : 0)) return false;
    }
  }
  return into.append(end - Math.max(offset, inside), 0);
}

/** What was written since a dirty bitmap was enabled: `qemu:dirty-bitmap:NAME`. */
export function dirtyBitmapContext(bitmap: DirtyBitmap, name: string): MetaContext {
  return {
    name: DIRTY_BITMAP_PREFIX + name,
    async describe(_node, offset, length, into) {
      const { bits } = bitmap;
      const end = offset + length;
      for (let at = offset; at < end;) {
        // A node that grew has no bits for its new end, which nobody has written.
        const run = at < bits.size ? bits.status(at, Math.min(end, bits.size) - at) : undefined;
        const runLength = run?.length ?? end - at;
        if (!into.append(runLength, run?.dirty === true ? 1 : 0)) return;
        at += runLength;
      }
    },
  };
}

/**
 * The contexts that a query selects. `isListing` makes a bare namespace (`base:`, `qemu:`, `qemu:dirty-bitmap:`) stand for all
 * in it; for a selection a query must be the exact name. What is not known selects nothing.
 */
export function matchContexts(
  available: readonly MetaContext[],
  query: string,
  isListing: boolean,
): readonly MetaContext[] {
  const isNamespace = isListing && (query === "base:" || query === "qemu:" || query === DIRTY_BITMAP_PREFIX);
  return available.filter(({ name }) => (isNamespace ? name.startsWith(query) : name === query));
}
