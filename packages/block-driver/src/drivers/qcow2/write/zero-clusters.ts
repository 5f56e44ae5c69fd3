import { isPromise } from "../../../contract/io.ts";
import { BlockError } from "../../../errors.ts";
import { roundDown, roundUp } from "../../../io/requests.ts";
import { readsZero } from "./copy-on-write.ts";
import type { WriteState } from "./write-state.ts";
import { unallocatedIsZero, zeroEntry, ZeroMode } from "./zero-entry.ts";

/** Writes zeroes as data: for parts that no entry can describe. */
export type WriteZeroData = (offset: number, end: number) => Promise<void>;

/**
 * Makes `[offset, end)` read as zeroes. Whole clusters, or subclusters, are a change of their entries; the ends are written
 * as data unless they read as zeroes already. The end of the disk counts as aligned.
 * @throws BlockError `ENOTSUP`, before anything is changed, when this image cannot do it this way.
 */
export async function writeZeroRange(
  state: WriteState,
  offset: number,
  end: number,
  options: { readonly unmap: boolean; readonly noFallback: boolean },
  writeData: WriteZeroData,
): Promise<void> {
  const { image } = state;
  const { geometry, header } = image;
  const isVersion2 = header.version < 3;
  if (isVersion2 && !unallocatedIsZero(state)) {
    throw notSupported(state, offset, end, "version 2 images with a backing file cannot store zero clusters");
  }
  const unit = isVersion2 ? geometry.clusterSize : geometry.subclusterSize;
  const innerStart = Math.min(end, roundUp(offset, unit));
  const innerEnd = Math.max(innerStart, end === image.virtualSize ? end : roundDown(end, unit));
  const ends = [
    { from: offset, to: innerStart },
    { from: innerEnd, to: end },
  ].filter(({ from, to }) => from < to);
  for (const part of ends) {
    if (options.noFallback && !(await isZeroAlready(state, part.from, part.to))) {
      throw notSupported(state, offset, end, `its ends are not aligned to ${unit} bytes`);
    }
  }
  for (const { from, to } of ends) {
    if (!(await isZeroAlready(state, from, to))) await writeData(from, to);
  }
  if (innerEnd <= innerStart) return;
  if (state.rawDataFile) await state.data.writeZeroes(innerStart, innerEnd - innerStart, options.unmap);
  await zeroClusters(state, innerStart, innerEnd, options.unmap ? ZeroMode.Unmap : ZeroMode.Keep, writeData);
  if (options.unmap) await giveBackData(state, innerStart, innerEnd);
}

/**
 * Gives up the whole clusters within `[offset, end)`; the end of the disk counts as aligned.
 * @throws BlockError `ENOTSUP` where the backing file would show through.
 */
export async function discardRange(
  state: WriteState,
  offset: number,
  end: number,
  writeData: WriteZeroData,
): Promise<void> {
  const { image } = state;
  const { clusterSize } = image.geometry;
  if (image.header.version < 3 && !unallocatedIsZero(state)) {
    throw notSupported(
      state,
      offset,
      end,
      "discarding would let the backing file of a version 2 image show through",
    );
  }
  const start = roundUp(offset, clusterSize);
  const stop = end === image.virtualSize ? end : roundDown(end, clusterSize);
  if (stop <= start) return;
  // Unless the raw file says the same as the image, it is not the disk any more.
  if (state.rawDataFile) await state.data.writeZeroes(start, stop - start, true);
  await zeroClusters(state, start, stop, ZeroMode.Discard, writeData);
  await giveBackData(state, start, stop);
}

/**
 * Punches what reads as zeroes by its entries out of an external data file, where everything is at its own place and nobody
 * counts clusters. It need not wait until the entries are durable: what an old entry leads to reads as zeroes then.
 */
async function giveBackData(state: WriteState, start: number, end: number): Promise<void> {
  const { image, data, rawDataFile } = state;
  if (!image.hasDataFile || rawDataFile || image.header.snapshotCount > 0) return;
  try {
    await data.discard(start, end - start);
  } catch {
    // Advisory: a file that cannot punch keeps the space.
  }
}

/** Changes the entries of `[offset, end)`, which is aligned to what an entry can say or ends with the disk. */
export async function zeroClusters(
  state: WriteState,
  offset: number,
  end: number,
  mode: ZeroMode,
  writeData: WriteZeroData,
): Promise<void> {
  const { image, inFlight } = state;
  const { geometry } = image;
  const { clusterSize, l2Coverage } = geometry;
  const skipsEmpty = mode === ZeroMode.Drop || unallocatedIsZero(state);
  for (let at = offset; at < end;) {
    if (state.commit.pressing) await state.commit.relieve();
    state.fence.check();
    const claim = inFlight.firstWithin(geometry.clusterStart(at), geometry.clusterEnd(end));
    if (claim !== undefined && claim.start <= at) {
      await inFlight.wait(claim);
      continue;
    }
    const limit = Math.min(end, claim?.start ?? end);
    const l1Index = Math.floor(at / l2Coverage);
    if (skipsEmpty && image.l1.offsetOf(l1Index) === 0) {
      at = Math.min(limit, (l1Index + 1) * l2Coverage);
      continue;
    }
    const answer = state.writableSlice(at);
    if (isPromise(answer)) {
      await answer;
      continue;
    }
    if (answer === undefined) throw state.fence.corrupt(`the L2 table of L1 entry ${l1Index} is gone`);
    const stride = geometry.l2EntryBytes / 4;
    const stop = Math.min(limit, answer.guestOffset + (answer.words.length / stride) * clusterSize);
    while (at < stop) {
      const cluster = geometry.clusterStart(at);
      const clusterEnd = cluster + clusterSize;
      // The end of the disk is the end of its last cluster.
      const to = stop === image.virtualSize ? clusterEnd : Math.min(stop, clusterEnd);
      const index = Math.round((cluster - answer.guestOffset) / clusterSize);
      if (!zeroEntry(state, answer, index, mode, at - cluster, to - cluster)) {
        const next = Math.min(stop, clusterEnd);
        await writeData(at, next);
        at = next;
        break;
      }
      at = Math.min(stop, clusterEnd);
    }
    if (state.commit.wanted) state.commit.startInBackground();
  }
}

/**
 * Whether a part of the disk, within a cluster or two, is known to read as zeroes by what the image itself holds. That a
 * backing file ends before it does not count: the image may be led to a longer one.
 */
async function isZeroAlready(state: WriteState, offset: number, end: number): Promise<boolean> {
  const { image, inFlight } = state;
  const { geometry } = image;
  for (let at = offset; at < end;) {
    const claim = inFlight.firstWithin(at, end);
    if (claim !== undefined) {
      await inFlight.wait(claim);
      continue;
    }
    const to = Math.min(end, geometry.clusterStart(at) + geometry.clusterSize);
    const answer = image.l2.get(at);
    const slice = isPromise(answer) ? await answer : answer;
    const emptyIsZero = unallocatedIsZero(state);
    const zero = slice === undefined ? emptyIsZero : readsZero(image, slice, at, to, emptyIsZero);
    if (!zero) return false;
    at = to;
  }
  return true;
}

function notSupported(state: WriteState, offset: number, end: number, why: string): BlockError {
  return new BlockError("ENOTSUP", `${state.image.label}: ${why}`, {
    node: state.image.label,
    offset,
    length: end - offset,
  });
}
