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

/** The parts of a map that images decide, and where stored bytes are a hole of the file below. */
export function comparableMap(extents: readonly MapExtent[]): readonly string[] {
  const parts: { what: string; start: number; end: number; hostEnd: number | undefined }[] = [];
  for (const { start, length, depth, present, zero, offset } of extents) {
    const kind = offset === undefined ? (zero ? "zero" : "compressed") : "placed";
    const reserved = offset === undefined ? "nowhere" : "reserved";
    const what = present ? `depth ${depth}, ${kind}${zero ? " zeroes" : ""}` : reserved;
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
  /** Where the layer above has room for the range. */
  place?: number,
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
      const host = (flags & ExtentFlag.HostOffset) === 0 ? undefined : extents.hostOffsetAt(index);
      const offset = host === undefined ? {} : { offset: host };
      if ((flags & ExtentFlag.Deferred) === 0)
        found.push({ ...range, present: true, zero, data: !zero, ...offset });
      else if (backing === undefined) found.push({ ...absent(range), ...offset });
      else found.push(...(await ourMap(backing, depth + 1, range.start, range.start + range.length, host)));
    }
  }
  const rest = Math.max(start, Math.min(end, layer.size));
  if (rest < end) {
    const offset = place === undefined ? {} : { offset: place + (rest - start) };
    found.push({ ...absent({ start: rest, length: end - rest, depth: depth - 1 }), ...offset });
  }
  return found;
}

function absent(range: Pick<MapExtent, "start" | "length" | "depth">): MapExtent {
  return { ...range, present: false, zero: true, data: false };
}
