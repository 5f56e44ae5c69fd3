import {
  ExtentFlag,
  ExtentList,
  skipFilters,
  type BlockEdge,
  type BlockGraph,
  type BlockNode,
} from "@blockmirror/block-driver";

/** A range of an image, in the words of `qemu-img map --output=json`. */
export interface MappedRange {
  readonly start: number;
  readonly length: number;
  /** The layer that holds it: 0 is the image, 1 its backing file. */
  readonly depth: number;
  /** Some layer says what it holds. */
  readonly present: boolean;
  /** Reads as zeroes. */
  readonly zero: boolean;
  /** Stored as data. */
  readonly data: boolean;
  /** Where it starts in the file of its layer, or would if it were there: its cluster has the place. */
  readonly offset?: number;
}

interface Layer {
  readonly edge: BlockEdge;
  readonly size: number;
  readonly extents: ExtentList;
}

/** Maps an image through its backing chain, range by range, neighbours of one kind merged. */
export async function* mapImage(
  graph: BlockGraph,
  top: BlockNode,
  signal?: AbortSignal,
): AsyncGenerator<MappedRange> {
  const layers = chainOf(graph, top);
  let last: MappedRange | undefined;
  for await (const range of walk(layers, 0, 0, top.size)) {
    signal?.throwIfAborted();
    if (last !== undefined && isContinued(last, range)) {
      last = extended(last, range.length);
      continue;
    }
    if (last !== undefined) yield last;
    last = range;
  }
  if (last !== undefined) yield last;
}

function chainOf(graph: BlockGraph, top: BlockNode): readonly Layer[] {
  const layers: Layer[] = [];
  for (
    let node: BlockNode | undefined = top;
    node !== undefined;
    node = skipFilters(node).child("backing")?.node
  ) {
    const edge = graph.attach(node, {
      name: "map",
      uses: ["read"],
      shares: ["read", "write", "write-unchanged", "resize"],
    });
    layers.push({ edge, size: node.size, extents: new ExtentList() });
  }
  return layers;
}

/** `place` is where the layer above has room for the range, if it has. */
async function* walk(
  layers: readonly Layer[],
  depth: number,
  start: number,
  end: number,
  place?: number,
): AsyncGenerator<MappedRange> {
  const layer = layers[depth];
  const inside = Math.min(end, layer?.size ?? 0);
  if (layer !== undefined) {
    const { edge, extents } = layer;
    for (let at = start; at < inside; at = extents.next) {
      await edge.status(at, inside - at, extents);
      extents.clip(inside);
      for (let index = 0; index < extents.count; index += 1) {
        const offset = extents.offsetAt(index);
        const length = extents.lengthAt(index);
        const flags = extents.flagsAt(index);
        const own = (flags & ExtentFlag.HostOffset) === 0 ? undefined : extents.hostOffsetAt(index);
        if ((flags & ExtentFlag.Deferred) === 0) {
          yield stored(offset, length, depth, flags, own);
        } else if (layers[depth + 1] === undefined) {
          yield absent(offset, length, depth, own);
        } else {
          yield* walk(layers, depth + 1, offset, offset + length, own);
        }
      }
    }
  }
  const rest = Math.max(start, inside);
  // Beyond the end of a shorter backing file there is nothing; it is the layer above that ends the search.
  if (rest < end)
    yield absent(rest, end - rest, depth - 1, place === undefined ? undefined : place + (rest - start));
}

function stored(
  start: number,
  length: number,
  depth: number,
  flags: number,
  place: number | undefined,
): MappedRange {
  const zero = (flags & ExtentFlag.Zero) !== 0;
  return {
    start,
    length,
    depth,
    present: true,
    zero,
    data: !zero || (flags & ExtentFlag.Hollow) !== 0,
    ...placedAt(place),
  };
}

function placedAt(offset: number | undefined): Pick<MappedRange, "offset"> {
  return offset === undefined ? {} : { offset };
}

function absent(start: number, length: number, depth: number, place: number | undefined): MappedRange {
  return { start, length, depth, present: false, zero: true, data: false, ...placedAt(place) };
}

function extended(range: MappedRange, by: number): MappedRange {
  return { ...range, length: range.length + by };
}

function isContinued(last: MappedRange, next: MappedRange): boolean {
  return (
    last.depth === next.depth &&
    last.present === next.present &&
    last.zero === next.zero &&
    last.data === next.data &&
    (last.offset === undefined ? next.offset === undefined : next.offset === last.offset + last.length)
  );
}
