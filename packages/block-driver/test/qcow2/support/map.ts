import { ExtentFlag, ExtentList, type BlockNode } from "../../../src/index.ts";
import { qemuImg } from "./qemu-img.ts";

/** An extent in qemu's words. */
export interface MapExtent {
  readonly start: number;
  readonly length: number;
  readonly depth: number;
  readonly present: boolean;
  readonly zero: boolean;
  readonly data: boolean;
  readonly compressed?: boolean;
  readonly offset?: number;
}

/** What `qemu-img map` says of an image and all below it. */
export async function qemuMap(filename: string): Promise<readonly MapExtent[]> {
  const extents: readonly MapExtent[] = JSON.parse(
    await qemuImg(["map", "-f", "qcow2", "--output=json", filename]),
  );
  // Of a disk of no bytes it tells one extent of no bytes.
  return extents.filter(({ length }) => length > 0);
}

/**
 * The parts of a map that images decide, and where stored bytes are a hole of the file below. Space that is reserved for
 * subclusters which are not there yet is left out: qemu tells its place, and we do not, since nothing is stored in it.
 */
export function comparableMap(extents: readonly MapExtent[]): readonly string[] {
  const parts: { what: string; start: number; end: number; hostEnd: number | undefined }[] = [];
  for (const { start, length, depth, present, zero, offset: place } of extents) {
    const offset = present ? place : undefined;
    const kind = offset === undefined ? (zero ? "zero" : "compressed") : "placed";
    const what = present ? `depth ${depth}, ${kind}${zero ? " zeroes" : ""}` : "nowhere";
    const last = parts.at(-1);
    if (last?.what === what && (offset === undefined || last.hostEnd === offset)) {
      last.end = start + length;
      last.hostEnd = offset === undefined ? undefined : offset + length;
    } else {
      const hostEnd = offset === undefined ? undefined : offset + length;
      parts.push({ what, start, end: start + length, hostEnd });
    }
  }
  return parts.map(
    ({ what, start, end, hostEnd }) =>
      `${start} to ${end}: ${what}${hostEnd === undefined ? "" : ` until ${hostEnd}`}`,
  );
}

/** Our status of the whole chain, layer by layer, as qemu would tell it. */
export async function ourMap(
  layer: BlockNode,
  depth = 0,
  start = 0,
  end = layer.size,
): Promise<readonly MapExtent[]> {
  const extents = new ExtentList(7);
  const found: MapExtent[] = [];
  const backing = layer.child("backing")?.node;
  for (let offset = start; offset < Math.min(end, layer.size); offset = extents.next) {
    const answer = layer.status(offset, Math.min(end, layer.size) - offset, extents);
    if (answer !== undefined) await answer;
    extents.clip(Math.min(end, layer.size));
    for (let index = 0; index < extents.count; index += 1) {
      const flags = extents.flagsAt(index);
      const range = { start: extents.offsetAt(index), length: extents.lengthAt(index), depth };
      const zero = (flags & ExtentFlag.Zero) !== 0;
      const offset = (flags & ExtentFlag.HostOffset) === 0 ? {} : { offset: extents.hostOffsetAt(index) };
      if ((flags & ExtentFlag.Deferred) === 0)
        found.push({ ...range, present: true, zero, data: !zero, ...offset });
      else if (backing === undefined) found.push(absent(range));
      else found.push(...(await ourMap(backing, depth + 1, range.start, range.start + range.length)));
    }
  }
  const rest = Math.max(start, Math.min(end, layer.size));
  if (rest < end) found.push(absent({ start: rest, length: end - rest, depth: depth - 1 }));
  return found;
}

function absent(range: Pick<MapExtent, "start" | "length" | "depth">): MapExtent {
  return { ...range, present: false, zero: true, data: false };
}
