import { isPromise } from "../../../contract/io.ts";
import type { ClusterClaim } from "../allocation/in-flight.ts";
import type { L2Slice } from "../metadata/l2-slice.ts";
import { copiedEnds, widen } from "./copy-on-write.ts";
import { linkClusters } from "./link.ts";
import { CannotCopy, MemoryPayload, type Payload } from "./payload.ts";
import { WriteAction } from "./write-run.ts";
import type { WriteState } from "./write-state.ts";

/** A run of guest bytes whose mapping changes when they are written. */
export interface AllocatingRun {
  readonly slice: L2Slice;
  readonly action: WriteAction;
  /** Host offset of the first cluster; for `Fill`. */
  readonly host: number;
  readonly offset: number;
  readonly end: number;
}

/**
 * Writes a run that needs host clusters: allocates them, writes the data together with what has to be copied around it in
 * one vector, and links them only when the data is there. The run's clusters are claimed from the call on, so that nobody
 * else maps them meanwhile.
 */
export function writeAllocating(state: WriteState, run: AllocatingRun, data: Payload): Promise<void> {
  const { geometry } = state.image;
  // Claimed before anything can wait: the caller has just looked at the mapping.
  const claim = state.inFlight.claim(geometry.clusterStart(run.offset), geometry.clusterEnd(run.end));
  run.slice.pins += 1;
  return writeClaimed(state, run, data, claim);
}

async function writeClaimed(
  state: WriteState,
  { slice, action, host, offset, end }: AllocatingRun,
  data: Payload,
  claim: ClusterClaim,
): Promise<void> {
  const { geometry, hasDataFile } = state.image;
  const { clusterSize } = geometry;
  try {
    for (let at = offset; at < end;) {
      const first = geometry.clusterStart(at);
      if (action === WriteAction.Fill || hasDataFile) {
        const target = hasDataFile ? first : host + (first - geometry.clusterStart(offset));
        await writePart(state, slice, action, at, end, data.part(at - offset, end - at), target, false);
        at = end;
        continue;
      }
      const answer = state.streams.allocate(first / clusterSize, Math.ceil((end - first) / clusterSize));
      const taken = isPromise(answer) ? await answer : answer;
      const partEnd = Math.min(end, first + taken.count * clusterSize);
      const part = data.part(at - offset, partEnd - at);
      try {
        await writePart(state, slice, action, at, partEnd, part, taken.cluster * clusterSize, taken.fresh);
      } catch (error) {
        // Nothing points to the new clusters; should giving them back fail too, they are leaked.
        if (state.fence.failure === undefined) {
          await state.allocator.giveBack(taken.cluster, taken.count).catch(() => {});
        }
        throw error;
      }
      at = partEnd;
    }
  } finally {
    slice.pins -= 1;
    state.inFlight.release(claim);
  }
}

/** Writes `[offset, end)` to host clusters from `host` on, then links them. */
async function writePart(
  state: WriteState,
  slice: L2Slice,
  action: WriteAction,
  offset: number,
  end: number,
  data: Payload,
  host: number,
  fresh: boolean,
): Promise<void> {
  const ends = copiedEnds(state.image, slice, action, offset, end);
  const first = state.image.geometry.clusterStart(offset);
  let start = offset;
  let payload = data;
  if (ends.start !== offset || ends.end !== end) {
    // What lies around is written together with the data, which has to be in memory for that.
    if (data.vector === undefined) throw new CannotCopy();
    const widened = await widen(state, ends, offset, end, data.vector, fresh);
    start = widened.start;
    payload = new MemoryPayload(widened.vector, data.batch);
  }
  state.mustNotOverlap(host, state.image.geometry.clusterEnd(end) - first);
  const written = payload.writeTo(state.data, host + (start - first));
  if (isPromise(written)) await written;
  state.fence.check();
  linkClusters(state, slice, ends.start, ends.end, host, false);
}
