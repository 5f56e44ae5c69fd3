import type { BlockChild } from "../../../contract/device.ts";
import {
  iovLength,
  iovSlice,
  iovZero,
  isPromise,
  type IoVec,
  type MaybePromise,
} from "../../../contract/io.ts";
import type { BlockError } from "../../../errors.ts";
import { ClusterType } from "../format/l2-entry.ts";
import type { Image } from "../image.ts";
import { findReadRun, ReadRun } from "../mapping/read-run.ts";
import { endOfUnmapped } from "../mapping/unmapped.ts";
import { readHost } from "../metadata/host-read.ts";
import type { L2Slice } from "../metadata/l2-slice.ts";
import type { ReadEpochs } from "../metadata/read-epochs.ts";
import { CompressedReader, storedAt, type CompressedPart } from "./compressed-reader.ts";

/** Parts of one request that are on their way at the same time. */
const PARTS_IN_FLIGHT = 8;
/** Compressed clusters that are read and decoded as one part. */
const COMPRESSED_BATCH = 64;

/** What a reader has done, so that waste shows without a clock. */
export interface ReadCounters {
  /** Requests that were one run of stored bytes, answered by one read below. */
  direct: number;
  /** Reads of stored, backing and compressed data below. */
  dataReads: number;
  backingReads: number;
  compressedClusters: number;
  /** Bytes that were filled with zeroes without any read. */
  zeroBytes: number;
}

/** What a reader needs of the rest of the driver. */
export interface ReaderInit {
  readonly image: Image;
  readonly epochs: ReadEpochs;
  /** Tells that a mapping contradicts itself, and returns the error to throw. */
  readonly corrupt: (what: string, offset: number) => BlockError;
}

/**
 * Reads guest data. A range that is stored in one piece, and whose table is in memory, is one read below and nothing else:
 * no promise and no allocation of ours. Anything else is cut into runs, which are read side by side.
 */
export class Reader {
  readonly counters: ReadCounters = {
    direct: 0,
    dataReads: 0,
    backingReads: 0,
    compressedClusters: 0,
    zeroBytes: 0,
  };
  readonly #image: Image;
  readonly #epochs: ReadEpochs;
  readonly #corrupt: ReaderInit["corrupt"];
  readonly #compressed: CompressedReader;
  readonly #run = new ReadRun();

  constructor({ image, epochs, corrupt }: ReaderInit) {
    this.#image = image;
    this.#epochs = epochs;
    this.#corrupt = corrupt;
    this.#compressed = new CompressedReader(image);
  }

  /** Reads the vector's length from guest byte `offset`; the range is inside the virtual size. */
  read(offset: number, into: IoVec): MaybePromise<void> {
    const length = iovLength(into);
    if (length === 0) return undefined;
    // Before the lookup: a host cluster that is found now stays what it is until this request has ended.
    const epoch = this.#epochs.begin();
    let reading: Promise<void> | typeof DONE;
    try {
      reading = this.#direct(offset, into, length) ?? this.#inRuns(offset, into, length);
    } catch (error) {
      this.#epochs.end(epoch);
      throw error;
    }
    if (reading === DONE) {
      this.#epochs.end(epoch);
      return undefined;
    }
    return reading.then(
      () => this.#epochs.end(epoch),
      (error: unknown) => {
        this.#epochs.end(epoch);
        throw error;
      },
    );
  }

  /** The whole request as one stored run; undefined when it is something else. */
  #direct(offset: number, into: IoVec, length: number): Promise<void> | typeof DONE | undefined {
    const image = this.#image;
    const slice = image.l2.get(offset);
    if (slice === undefined) return undefined;
    if (isPromise(slice)) {
      // The other way asks again, and sees why it failed.
      slice.catch(() => {});
      return undefined;
    }
    const run = this.#run;
    findReadRun(slice, image.geometry, image.hasDataFile, offset, offset + length, run);
    if (run.type !== ClusterType.Normal || run.end < offset + length) return undefined;
    this.counters.direct += 1;
    this.counters.dataReads += 1;
    return readHost(image.data, run.host, into) ?? DONE;
  }

  async #inRuns(offset: number, into: IoVec, length: number): Promise<void> {
    const image = this.#image;
    const end = offset + length;
    const parts = new Set<Promise<void>>();
    const failures: unknown[] = [];
    const start = (part: MaybePromise<void>): void => {
      if (!isPromise(part)) return;
      const ended: Promise<void> = part
        .catch((error: unknown) => {
          failures.push(error);
        })
        .finally(() => parts.delete(ended));
      parts.add(ended);
    };
    try {
      for (let at = offset; at < end && failures.length === 0;) {
        const answer = image.l2.get(at);
        const slice = isPromise(answer) ? await answer : answer;
        const next = this.#startRun(
          slice,
          at,
          end,
          (from, to) => iovSlice(into, from - offset, to - from),
          start,
        );
        at = next;
        if (parts.size >= PARTS_IN_FLIGHT) await Promise.race(parts);
      }
    } finally {
      // No part may still write into the caller's buffers when the request ends.
      await Promise.all(parts);
    }
    if (failures.length > 0) throw failures[0];
  }

  /** Starts reading the run at `at` and returns where it ends. */
  #startRun(
    slice: L2Slice | undefined,
    at: number,
    end: number,
    vector: (from: number, to: number) => IoVec,
    start: (part: MaybePromise<void>) => void,
  ): number {
    const image = this.#image;
    if (slice === undefined) {
      const next = endOfUnmapped(image, at, end);
      start(this.#readBacking(at, vector(at, next)));
      return next;
    }
    const run = this.#run;
    findReadRun(slice, image.geometry, image.hasDataFile, at, end, run);
    const next = run.end;
    switch (run.type) {
      case ClusterType.Normal: {
        this.counters.dataReads += 1;
        start(readHost(image.data, run.host, vector(at, next)));
        return next;
      }
      case ClusterType.ZeroPlain:
      case ClusterType.ZeroAllocated:
        this.counters.zeroBytes += next - at;
        iovZero(vector(at, next));
        return next;
      case ClusterType.Unallocated:
      case ClusterType.UnallocatedReserved:
        start(this.#readBacking(at, vector(at, next)));
        return next;
      case ClusterType.Compressed:
        return this.#startCompressed(slice, at, end, vector, start);
      case ClusterType.Invalid:
        throw this.#corrupt(`the mapping of guest offset 0x${at.toString(16)} is invalid`, at);
    }
  }

  /** Reads a run of compressed clusters together: they lie back to back in the file. */
  #startCompressed(
    slice: L2Slice,
    at: number,
    end: number,
    vector: (from: number, to: number) => IoVec,
    start: (part: MaybePromise<void>) => void,
  ): number {
    const { geometry, hasDataFile } = this.#image;
    const parts: CompressedPart[] = [];
    const run = this.#run;
    let next = at;
    while (next < end && parts.length < COMPRESSED_BATCH) {
      if (next > at) {
        if (next >= slice.guestOffset + this.#image.l2.sliceCoverage) break;
        findReadRun(slice, geometry, hasDataFile, next, end, run);
        if (run.type !== ClusterType.Compressed) break;
      }
      const stored = storedAt(this.#image, slice, next);
      if (stored === undefined) {
        throw this.#corrupt(
          `the descriptor of the compressed cluster at guest offset 0x${next.toString(16)} is invalid`,
          next,
        );
      }
      const partEnd = Math.min(end, geometry.clusterStart(next) + geometry.clusterSize);
      parts.push({
        stored,
        guestOffset: next,
        from: next % geometry.clusterSize,
        into: vector(next, partEnd),
      });
      next = partEnd;
    }
    this.counters.compressedClusters += parts.length;
    start(this.#compressed.read(parts));
    return next;
  }

  /** What this image does not hold comes from the backing file, which may be shorter; beyond it there are zeroes. */
  #readBacking(offset: number, into: IoVec): MaybePromise<void> {
    const { backing } = this.#image;
    const length = iovLength(into);
    const inside = backing === undefined ? 0 : Math.max(0, Math.min(length, backing.info.size - offset));
    if (inside < length) {
      this.counters.zeroBytes += length - inside;
      iovZero(iovSlice(into, inside, length - inside));
    }
    if (backing === undefined || inside === 0) return undefined;
    this.counters.backingReads += 1;
    return readFrom(backing, offset, inside === length ? into : iovSlice(into, 0, inside));
  }
}

function readFrom(child: BlockChild, offset: number, into: IoVec): MaybePromise<void> {
  return child.read(offset, into);
}

/** Says that a request was answered without a promise. */
const DONE: unique symbol = Symbol("done");
