import { isPromise } from "../../../contract/io.ts";
import type { L2Slice } from "../metadata/l2-slice.ts";
import { linkClusters } from "./link.ts";
import type { WriteState } from "./write-state.ts";

/**
 * Maps `[start, end)` to its place in an external data file, so that what others write there is seen through the image, and
 * writes need no change of metadata.
 */
export async function mapDataFile(state: WriteState, start: number, end: number): Promise<void> {
  await eachSlice(state, start, end, (slice, at, stop) => {
    linkClusters(state, slice, at, stop, at, false);
    return Promise.resolve(stop);
  });
}

/**
 * Gives every cluster of `[start, end)`, which are not stored yet, a place in the image's file, side by side where there is
 * room, without writing data: they read as zeroes, and later writes need no change of metadata.
 * @throws BlockError what growing the file meets; clusters that are mapped by then stay so.
 */
export async function mapNewClusters(state: WriteState, start: number, end: number): Promise<void> {
  await eachSlice(state, start, end, (slice, at, stop) => mapRun(state, slice, at, stop));
}

/** Calls `map` for the part of `[start, end)` in each slice, again from where it ended until all is mapped. */
async function eachSlice(
  state: WriteState,
  start: number,
  end: number,
  map: (slice: L2Slice, at: number, stop: number) => Promise<number>,
): Promise<void> {
  const { geometry } = state.image;
  const stride = geometry.l2EntryBytes / 4;
  for (let at = start; at < end;) {
    if (state.commit.pressing) await state.commit.relieve();
    const slice = await state.writableSlice(at);
    if (slice === undefined) throw state.fence.corrupt(`the L2 table for guest offset ${at} is gone`);
    const sliceEnd = slice.guestOffset + (slice.words.length / stride) * geometry.clusterSize;
    slice.pins += 1;
    try {
      at = await map(slice, at, Math.min(geometry.clusterEnd(end), sliceEnd));
    } finally {
      slice.pins -= 1;
    }
  }
}

async function mapRun(state: WriteState, slice: L2Slice, at: number, stop: number): Promise<number> {
  const { allocator, file, fence } = state;
  const { clusterSize } = state.image.geometry;
  const answer = allocator.allocate((stop - at) / clusterSize);
  const { cluster, count, fresh } = isPromise(answer) ? await answer : answer;
  const host = cluster * clusterSize;
  const length = count * clusterSize;
  try {
    // A cluster that was used before still holds what it held; one behind the end of the file is a hole.
    await (fresh ? file.reserve(host + length) : file.writeZeroes(host, length));
  } catch (error) {
    if (fence.failure === undefined) await allocator.giveBack(cluster, count).catch(() => {});
    throw error;
  }
  fence.check();
  linkClusters(state, slice, at, at + length, host, false);
  return at + length;
}
