import type { DirtyArea } from "@blockmirror/hbitmap";
import {
  COARSE_BLOCK,
  ExtentFlag,
  ExtentList,
  skipFilters,
  StatusResolver,
  type BlockNode,
  type DirtyBitmap,
} from "@blockmirror/block-driver";
import type { JobControl } from "@blockmirror/blockjob";
import type { SyncMode } from "./options.ts";
import type { Silence } from "./silence.ts";
import type { ZeroMap } from "./zero-map.ts";

/** Whether the image names a backing file that is not open: what it does not hold itself is not known. */
export function namesClosedBacking(node: BlockNode): boolean {
  const layer = skipFilters(node);
  return layer.info.namedBacking !== undefined && layer.child("backing") === undefined;
}

/** Whether anything shows, now or later, where the image holds nothing itself. */
export function hasBacking(node: BlockNode): boolean {
  const layer = skipFilters(node);
  return layer.info.namedBacking !== undefined || layer.child("backing") !== undefined;
}

/** What the scan works on, and how it lets others have their turn. */
interface ScanInit {
  readonly source: BlockNode;
  readonly target: BlockNode;
  readonly size: number;
  /** The job's bitmap; it has followed writes since before the first query (mirror rule S2.6). */
  readonly dirty: DirtyBitmap;
  readonly zeroMap: ZeroMap;
  /** Told what the devices are asked for, and of their answers. */
  readonly silence: Silence;
  /** Called after every batch with the bytes examined; false ends the scan (mirror rule S11.4). */
  readonly proceed: (scannedBytes: number) => Promise<boolean>;
}

/** What {@link scanSource} works on. */
interface SourceScanInit extends Omit<ScanInit, "proceed"> {
  readonly job: JobControl;
  readonly sync: SyncMode;
  /** The node down to which the source's layers are copied; absent: what `sync` says. */
  readonly base: BlockNode | undefined;
}

/** The scan reaches a pause point at least this often (mirror rule S20.1). */
const SLICE_MS = 100;

/** Marks what a job has to copy by its sync mode; nothing when that is known without looking. */
export async function scanSource({ job, sync, base, ...rest }: SourceScanInit): Promise<void> {
  if (sync !== "full" && sync !== "top") return;
  let sinceMs = job.clock.now();
  const proceed = async (): Promise<boolean> => {
    if (job.clock.now() - sinceMs >= SLICE_MS) {
      await job.sleep(0);
      sinceMs = job.clock.now();
    }
    return !job.isForceCancelled;
  };
  const init = { ...rest, proceed };
  const below = sync === "top" ? skipFilters(rest.source).child("backing")?.node : undefined;
  const end = base ?? below;
  await (end === undefined ? scanFull(init) : scanTop(init, end));
}

/** One query spans at most this much; a batch also ends when its list of extents is full. */
const SCAN_STEP = 16 * 1024 * 1024 * 1024;

/**
 * Decides what a full mirror has to copy. A chunk is clean only if source and target both read as zeroes there by their
 * own word; so holes cost nothing, whatever their size, and stale content under a hole is overwritten (mirror rule S2.2).
 *
 * The target is asked first: the source's holes can then be judged in one pass.
 */
async function scanFull(init: ScanInit): Promise<void> {
  const { target, source, zeroMap, dirty } = init;
  // A backing image that the target names will be there when the copy is used, and may have anything where now is nothing.
  if (!zeroMap.covers(0, init.size) && !namesClosedBacking(target)) {
    if (!(await learnZeroes(target, init))) return;
  }
  await walk(source, init, (offset, length, zero) => {
    if (zero) markUnknownZeroes(dirty, zeroMap, offset, offset + length);
    else dirty.bits.set(offset, length);
  });
}

/** Learns where the target reads as zeroes: each run as a whole, since one of everything is the usual one and costs least. */
async function learnZeroes(target: BlockNode, init: ScanInit): Promise<boolean> {
  let start = 0;
  let end = 0;
  const isDone = await walk(target, init, (offset, length, zero) => {
    if (!zero) return;
    if (offset !== end) {
      init.zeroMap.learn(start, end - start);
      start = offset;
    }
    end = offset + length;
  });
  init.zeroMap.learn(start, end - start);
  return isDone;
}

/**
 * Decides what `top` has to copy: every chunk of which the source's own layers, down to but without `base`, hold a part
 * (mirror rules S11.1 and S11.2). What they hold as zeroes counts, since the base may have something else there. Nothing
 * is known of the target: what it does not hold comes from a backing image that may not even be open.
 */
async function scanTop(init: ScanInit, base: BlockNode): Promise<void> {
  await walk(
    init.source,
    init,
    (offset, length, _zero, held) => {
      if (held) init.dirty.bits.set(offset, length);
    },
    base,
  );
}

/** Takes over what another bitmap, of any granularity, says is dirty. */
export function copyBitmap(from: DirtyBitmap, to: DirtyBitmap): void {
  const { bits } = from;
  const size = Math.min(bits.size, to.bits.size);
  const area: DirtyArea = { start: 0, length: 0 };
  for (let at = 0; at < size; at = area.start + area.length) {
    if (bits.nextDirtyArea(at, size, size, area) === undefined) return;
    to.bits.set(area.start, area.length);
  }
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
  visit: (offset: number, length: number, zero: boolean, held: boolean) => void,
  above?: BlockNode,
): Promise<boolean> {
  const precise = init.dirty.bits.granularity < COARSE_BLOCK;
  const options = { precise, ...(above !== undefined && { above }) };
  const resolver = new StatusResolver();
  const extents = new ExtentList();
  const { silence } = init;
  const side = node === init.target ? "write" : "read";
  for (let offset = 0; offset < init.size; offset = extents.next) {
    if (!(await init.proceed(offset))) return false;
    silence.begin(side);
    try {
      await resolver.resolve(node, offset, Math.min(SCAN_STEP, init.size - offset), extents, options);
    } finally {
      silence.end(side);
    }
    for (let index = 0; index < extents.count; index += 1) {
      const flags = extents.flagsAt(index);
      const held = (flags & ExtentFlag.Deferred) === 0;
      visit(extents.offsetAt(index), extents.lengthAt(index), (flags & ExtentFlag.Zero) !== 0, held);
    }
  }
  return init.proceed(init.size);
}
