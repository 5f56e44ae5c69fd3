import type { Borrower, IoOptions } from "../../../contract/device.ts";
import {
  iovLength,
  iovSlice,
  iovZero,
  isPromise,
  type IoVec,
  type MaybePromise,
} from "../../../contract/io.ts";
import { ClusterType } from "../format/l2-entry.ts";
import type { Image } from "../image.ts";
import { findReadRun, ReadRun } from "../mapping/read-run.ts";
import { endOfUnmapped } from "../mapping/unmapped.ts";
import { readHost } from "../metadata/host-read.ts";
import type { L2Slice } from "../metadata/l2-slice.ts";
import type { ReadEpochs } from "../metadata/read-epochs.ts";
import { CompressedReader, storedAt, type CompressedPart } from "./compressed-reader.ts";
import { PartsInFlight } from "./parts-in-flight.ts";
import { newReadCounters, type ReadCounters } from "./read-counters.ts";
import { Source, sourceOf, Stretch } from "./stretch.ts";

/** Compressed clusters that are read and decoded as one part. */
const COMPRESSED_BATCH = 64;

/** How the parts of a request are read. */
const ONE_OF_MANY: IoOptions = { batch: true };

/** A read of guest bytes `[offset, end)`. */
interface GuestRead {
  readonly offset: number;
  readonly end: number;
  readonly into: IoVec;
  readonly parts: PartsInFlight;
}

/**
 * Reads guest data. A range that is stored in one piece, and whose table is in memory, is one read below and nothing else:
 * no promise and no allocation of ours. Anything else is cut into stretches, which are read side by side.
 */
export class Reader {
  readonly counters: ReadCounters = newReadCounters();
  readonly #image: Image;
  readonly #epochs: ReadEpochs | undefined;
  readonly #compressed: CompressedReader;
  readonly #run = new ReadRun();

  /** `epochs` tell a writer what may still be read; undefined when there is none. */
  constructor(image: Image, epochs: ReadEpochs | undefined) {
    this.#image = image;
    this.#epochs = epochs;
    this.#compressed = new CompressedReader(image, this.counters);
  }

  /** Reads the vector's length from guest byte `offset`; the range is inside the virtual size. */
  read(offset: number, into: IoVec, options?: IoOptions): MaybePromise<void> {
    const length = iovLength(into);
    if (length === 0) return undefined;
    const epochs = this.#epochs;
    if (epochs === undefined) {
      const reading = this.#direct(offset, into, length, options) ?? this.#inStretches(offset, into, length);
      return reading === DONE ? undefined : reading;
    }
    return this.#within(epochs, offset, into, length, options);
  }

  /** See `BlockDevice.lend`. */
  async lend(offset: number, length: number, borrow: Borrower): Promise<number> {
    const epoch = this.#epochs?.begin();
    try {
      const image = this.#image;
      const answer = image.l2.get(offset);
      const slice = isPromise(answer) ? await answer : answer;
      const { type, host, end } = this.#runAt(slice, offset, offset + length);
      if (type === ClusterType.Normal) {
        // A cluster at the end of the file need not be there in full: what is not there is zeroes, and nowhere.
        const stored = Math.min(end - offset, image.data.info.size - host);
        return stored <= 0 ? 0 : await image.data.lend(host, stored, borrow);
      }
      const { backing } = image;
      if (type !== ClusterType.Unallocated || backing === undefined) return 0;
      const inside = Math.min(end, backing.info.size) - offset;
      return inside <= 0 ? 0 : await backing.lend(offset, inside, borrow);
    } finally {
      if (epoch !== undefined) this.#epochs?.end(epoch);
    }
  }

  /** Begins the epoch before the lookup: a host cluster that is found now stays what it is until this request has ended. */
  #within(
    epochs: ReadEpochs,
    offset: number,
    into: IoVec,
    length: number,
    options: IoOptions | undefined,
  ): MaybePromise<void> {
    const epoch = epochs.begin();
    let reading: Promise<void> | typeof DONE;
    try {
      reading = this.#direct(offset, into, length, options) ?? this.#inStretches(offset, into, length);
    } catch (error) {
      epochs.end(epoch);
      throw error;
    }
    if (reading === DONE) {
      epochs.end(epoch);
      return undefined;
    }
    return reading.then(
      () => epochs.end(epoch),
      (error: unknown) => {
        epochs.end(epoch);
        throw error;
      },
    );
  }

  /** The whole request as one stored run; undefined when it is something else. */
  #direct(
    offset: number,
    into: IoVec,
    length: number,
    options: IoOptions | undefined,
  ): Promise<void> | typeof DONE | undefined {
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
    return this.#readData(run.host, into, length, options) ?? DONE;
  }

  async #inStretches(offset: number, into: IoVec, length: number): Promise<void> {
    const parts = new PartsInFlight();
    try {
      await this.#startAll({ offset, end: offset + length, into, parts });
    } finally {
      // No part may still write into the caller's buffers when the request ends.
      await parts.settled();
    }
    parts.throwFirstFailure();
  }

  /** Starts reading everything, stretch by stretch. */
  async #startAll(request: GuestRead): Promise<void> {
    const { end, parts } = request;
    const { l2 } = this.#image;
    const stretch = new Stretch();
    for (let at = request.offset; at < end && !parts.hasFailed;) {
      const answer = l2.get(at);
      const slice = isPromise(answer) ? await answer : answer;
      const run = this.#runAt(slice, at, end);
      if (run.type === ClusterType.Compressed && slice !== undefined) {
        this.#startStretch(request, stretch);
        at = this.#startCompressed(request, slice, at);
        stretch.begin(Source.Zeroes, 0, at);
      } else {
        if (run.type === ClusterType.Invalid || run.type === ClusterType.Compressed) {
          throw this.#image.corrupt(`the mapping of guest offset 0x${at.toString(16)} is invalid`, at);
        }
        const source = sourceOf(run.type);
        if (!stretch.goesOn(source, run.host)) {
          this.#startStretch(request, stretch);
          stretch.begin(source, run.host, at);
        }
        stretch.to = run.end;
        at = run.end;
      }
      if (parts.isFull) await parts.room();
    }
    if (!parts.hasFailed) this.#startStretch(request, stretch);
  }

  /** The run at `at`; its next use is the next call. Without a table nothing is allocated as far as there is none. */
  #runAt(slice: L2Slice | undefined, at: number, end: number): ReadRun {
    const image = this.#image;
    const run = this.#run;
    if (slice === undefined) {
      run.type = ClusterType.Unallocated;
      run.host = 0;
      run.end = endOfUnmapped(image, at, end);
    } else {
      findReadRun(slice, image.geometry, image.hasDataFile, at, end, run);
    }
    return run;
  }

  #startStretch({ offset, into, parts }: GuestRead, { source, host, from, to }: Stretch): void {
    const length = to - from;
    if (length === 0) return;
    const vector = iovSlice(into, from - offset, length);
    switch (source) {
      case Source.Data:
        parts.add(this.#readData(host, vector, length, ONE_OF_MANY));
        return;
      case Source.Backing:
        parts.add(this.#readBacking(from, vector, length));
        return;
      case Source.Zeroes:
        this.counters.zeroBytes += length;
        iovZero(vector);
    }
  }

  #readData(host: number, into: IoVec, length: number, options?: IoOptions): MaybePromise<void> {
    this.counters.dataReads += 1;
    this.counters.dataBytes += length;
    return readHost(this.#image.data, host, into, options);
  }

  /** What this image does not hold comes from the backing file, which may be shorter; beyond it there are zeroes. */
  #readBacking(offset: number, into: IoVec, length: number): MaybePromise<void> {
    const { backing } = this.#image;
    const inside = backing === undefined ? 0 : Math.max(0, Math.min(length, backing.info.size - offset));
    if (inside < length) {
      this.counters.zeroBytes += length - inside;
      iovZero(iovSlice(into, inside, length - inside));
    }
    if (backing === undefined || inside === 0) return undefined;
    this.counters.backingReads += 1;
    this.counters.backingBytes += inside;
    return backing.read(offset, inside === length ? into : iovSlice(into, 0, inside), ONE_OF_MANY);
  }

  /** Reads compressed clusters together, from `at` on, and returns where they end: they lie back to back in the file. */
  #startCompressed({ offset, end, into, parts }: GuestRead, slice: L2Slice, at: number): number {
    const image = this.#image;
    const { clusterSize } = image.geometry;
    const sliceEnd = slice.guestOffset + image.l2.sliceCoverage;
    const clusters: CompressedPart[] = [];
    let next = at;
    while (next < Math.min(end, sliceEnd) && clusters.length < COMPRESSED_BATCH) {
      if (next > at && this.#runAt(slice, next, end).type !== ClusterType.Compressed) break;
      const stored = storedAt(image, slice, next);
      if (stored === undefined) {
        const what = `the descriptor of the compressed cluster at guest offset 0x${next.toString(16)} is invalid`;
        throw image.corrupt(what, next);
      }
      const from = next % clusterSize;
      const length = Math.min(end - next, clusterSize - from);
      clusters.push({ stored, guestOffset: next, from, into: iovSlice(into, next - offset, length) });
      next += length;
    }
    parts.add(this.#compressed.read(clusters));
    return next;
  }
}

/** Says that a request was answered without a promise. */
const DONE: unique symbol = Symbol("done");
