import { ExtentFlag, ExtentList, type ExtentFlags } from "../contract/extents.ts";
import type { StatusOptions } from "../contract/device.ts";
import { isPromise } from "../contract/io.ts";
import type { BlockNode } from "./node.ts";
import { skipFilters } from "./topology.ts";

/** Options of {@link StatusResolver.resolve}. */
export interface ResolveOptions extends StatusOptions {
  /**
   * Stop above this node: what it or a node below it would answer stays `Deferred`. Without it the whole chain is asked
   * and no extent stays deferred.
   */
  readonly above?: BlockNode;
}

const MAX_CHAIN_DEPTH = 200;

/**
 * Answers block status through a whole backing chain: `Data` or `Zero`, and from which layer. Layers answer only for
 * themselves; this is the one place that walks. Reusable: it keeps its scratch lists, so a scan allocates once.
 * One resolver serves one request at a time.
 */
export class StatusResolver {
  readonly #scratch: ExtentList[] = [];

  /**
   * Describes `[offset, offset + length)` of `node` from `offset` on, into `extents`; may stop early but covers at
   * least one byte. The list's `depths` tell the layer: 0 is `node` (filters above it do not count).
   * Beyond the end of a shorter backing node everything is zero.
   */
  async resolve(
    node: BlockNode,
    offset: number,
    length: number,
    extents: ExtentList,
    options: ResolveOptions = {},
  ): Promise<void> {
    extents.reset(offset);
    await this.#walk(node, offset, length, extents, 0, options);
    extents.clip(offset + length);
  }

  /** Appends what `node` and those below say of the range; false when the list is full. */
  async #walk(
    node: BlockNode,
    offset: number,
    length: number,
    into: ExtentList,
    depth: number,
    options: ResolveOptions,
  ): Promise<boolean> {
    if (depth > MAX_CHAIN_DEPTH)
      throw new RangeError(`the backing chain of '${node.name}' is deeper than ${MAX_CHAIN_DEPTH}`);
    const layer = skipFilters(node);
    if (options.above !== undefined && layer === skipFilters(options.above)) {
      return into.append(length, ExtentFlag.Deferred, 0, depth);
    }
    const list = this.#list(depth);
    // Asked at the node, not the layer: a filter passes the question on, and may have its say.
    const result = node.status(offset, length, list, options);
    if (isPromise(result)) await result;
    list.clip(offset + length);
    for (let index = 0; index < list.count; index += 1) {
      const flags = list.flagsAt(index);
      const extentLength = list.lengthAt(index);
      if ((flags & ExtentFlag.Deferred) === 0) {
        if (!into.append(extentLength, flags, list.hostOffsetAt(index), depth)) return false;
      } else if (!(await this.#below(layer, list.offsetAt(index), extentLength, into, depth, options))) {
        return false;
      }
    }
    return true;
  }

  /** Appends what the backing node says of a deferred extent, all of it or as much as fits. */
  async #below(
    layer: BlockNode,
    offset: number,
    length: number,
    into: ExtentList,
    depth: number,
    options: ResolveOptions,
  ): Promise<boolean> {
    const backing = layer.child("backing")?.node;
    if (backing === undefined) {
      const flags: ExtentFlags = options.above === undefined ? ExtentFlag.Zero : ExtentFlag.Deferred;
      return into.append(length, flags, 0, depth);
    }
    const end = offset + length;
    const inside = Math.max(0, Math.min(end, backing.size) - offset);
    for (let at = offset; at < offset + inside; at = into.next) {
      if (!(await this.#walk(backing, at, offset + inside - at, into, depth + 1, options))) return false;
      if (into.next <= at)
        throw new RangeError(`status of '${backing.name}' made no progress at offset ${at}`);
    }
    return inside === length || into.append(length - inside, ExtentFlag.Zero, 0, depth + 1);
  }

  #list(depth: number): ExtentList {
    let list = this.#scratch[depth];
    if (list === undefined) {
      list = new ExtentList();
      this.#scratch[depth] = list;
    }
    return list;
  }
}
