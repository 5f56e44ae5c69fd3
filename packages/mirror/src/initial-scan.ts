import {
  ExtentFlag,
  ExtentList,
  StatusResolver,
  type BlockNode,
  type DirtyBitmap,
} from "@blockmirror/block-driver";
import type { ZeroMap } from "./zero-map.ts";

/** What the scan works on, and how it lets others have their turn. */
export interface ScanInit {
  readonly source: BlockNode;
  readonly target: BlockNode;
  readonly size: number;
  /** The job's bitmap; it has followed writes since before the first query (mirror rule S2.6). */
  readonly dirty: DirtyBitmap;
  readonly zeroMap: ZeroMap;
  /** Called after every batch with the bytes examined; false ends the scan (mirror rule S11.4). */
  readonly proceed: (scannedBytes: number) => Promise<boolean>;
}

/** One query spans at most this much; a batch also ends when its list of extents is full. */
const SCAN_STEP = 2 * 1024 * 1024 * 1024;

/**
 * Decides what a full mirror has to copy. A chunk is clean only if source and target both read as zeroes there by their
 * own word; so holes cost nothing, whatever their size, and stale content under a hole is overwritten (mirror rule S2.2).
 *
 * The target is asked first: the source's holes can then be judged in one pass.
 */
export async function scanFull(init: ScanInit): Promise<void> {
  const { target, source, zeroMap, dirty } = init;
  const known = await walk(target, init, (offset, length, zero) => {
    if (zero) zeroMap.learn(offset, length);
  });
  if (!known) return;
  await walk(source, init, (offset, length, zero) => {
    if (zero) markUnknownZeroes(dirty, zeroMap, offset, offset + length);
    else dirty.bits.set(offset, length);
  });
}

/** A hole of the source needs work where the target is not known to be zero; whole chunks (mirror rule S11.2). */
function markUnknownZeroes(dirty: DirtyBitmap, zeroMap: ZeroMap, offset: number, end: number): void {
  let at = offset;
  while (at < end) {
    const from = zeroMap.nextUnknown(at, end);
    if (from < 0) return;
    const known = zeroMap.nextKnown(from, end);
    const to = known < 0 ? end : known;
    dirty.bits.set(from, to - from);
    at = to;
  }
}

async function walk(
  node: BlockNode,
  init: ScanInit,
  visit: (offset: number, length: number, zero: boolean) => void,
): Promise<boolean> {
  const resolver = new StatusResolver();
  const extents = new ExtentList(4096);
  for (let offset = 0; offset < init.size; offset = extents.next) {
    if (!(await init.proceed(offset))) return false;
    await resolver.resolve(node, offset, Math.min(SCAN_STEP, init.size - offset), extents);
    for (let index = 0; index < extents.count; index += 1) {
      const zero = (extents.flagsAt(index) & ExtentFlag.Zero) !== 0;
      visit(extents.offsetAt(index), extents.lengthAt(index), zero);
    }
  }
  return init.proceed(init.size);
}
