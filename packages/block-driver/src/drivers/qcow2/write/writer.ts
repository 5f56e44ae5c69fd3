import type {
  BlockDevice,
  NamedBacking,
  ResizeOptions,
  WriteOptions,
  ZeroOptions,
} from "../../../contract/device.ts";
import { iovLength, isPromise, type IoVec, type MaybePromise } from "../../../contract/io.ts";
import { BlockError } from "../../../errors.ts";
import { deferred, type Deferred } from "../../../io/deferred.ts";
import { zeroVector } from "../../../io/zero-page.ts";
import { commitUntilClean } from "../metadata/commit-until-clean.ts";
import { writeAllocating } from "./allocating-write.ts";
import { headerWithBacking, recordBackingFile } from "./backing-file.ts";
import { resizeImage } from "./resize.ts";
import { CannotCopy, LentPayload, MemoryPayload, type Payload } from "./payload.ts";
import { findWriteRun, WriteAction, WriteRun } from "./write-run.ts";
import { WriteState, type WriteStateInit } from "./write-state.ts";
import { discardRange, writeZeroRange } from "./zero-clusters.ts";

/** Parts of one request that are on their way at the same time. */
const PARTS_IN_FLIGHT = 16;
/** Smaller pieces, each copied below by itself, take longer than reading and writing all of them at once. */
const LEAST_COPY = 512 * 1024;
/** Zero buffers in one write. */
const ZERO_WRITE = 8 * 1024 * 1024;

/**
 * Changes an open image. Requests may overlap in time; offsets and lengths are inside the virtual size, which the block
 * layer has checked.
 *
 * A write to clusters that are stored already goes straight down, without a promise of its own or an allocation per
 * cluster. Everything else is planned run by run; mappings change in memory when the data is there and become durable with
 * the next flush.
 */
export class Writer {
  readonly state: WriteState;
  readonly #run = new WriteRun();
  #active = 0;
  #idle: Deferred | undefined;
  /** Held by a request that tolerates no other. */
  #exclusive: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(init: WriteStateInit) {
    this.state = new WriteState(init);
  }

  /** See `BlockDevice.write`. */
  write(offset: number, from: IoVec, options?: WriteOptions): MaybePromise<void> {
    this.state.fence.check();
    const length = iovLength(from);
    if (length === 0) return undefined;
    const fast = options?.fua === true ? undefined : this.#writeInPlace(offset, from, length, options);
    if (fast !== undefined) return fast === true ? undefined : fast;
    return this.#shared(async () => {
      await this.#write(offset, new MemoryPayload(from, options?.batch === true), length);
      if (options?.fua === true) await this.state.commit.flush();
    }, offset + length);
  }

  /**
   * See `BlockDevice.copyRange`. Only whole clusters are copied below: the rest needs what lies around it in memory.
   */
  async copyRange(
    offset: number,
    storage: BlockDevice,
    sourceOffset: number,
    length: number,
  ): Promise<number> {
    const { geometry } = this.state.image;
    const whole = geometry.clusterStart(offset + length) - offset;
    if (geometry.clusterStart(offset) !== offset || whole <= 0) return 0;
    if (await this.#isScattered(offset, offset + whole)) return 0;
    try {
      const payload = new LentPayload(storage, sourceOffset, whole);
      await this.#shared(() => this.#write(offset, payload, whole), offset + whole);
    } catch (error) {
      if (error instanceof CannotCopy) return 0;
      throw error;
    }
    return whole;
  }

  /** See `BlockDevice.writeZeroes`. Needs no alignment: ends that no entry can describe are written as data. */
  writeZeroes(offset: number, length: number, options: ZeroOptions = {}): Promise<void> {
    return this.#shared(async () => {
      await this.#prepared();
      const { unmap = false, noFallback = false } = options;
      await writeZeroRange(this.state, offset, offset + length, { unmap, noFallback }, this.#writeZeroData);
      if (options.fua === true) await this.state.commit.flush();
    }, offset + length);
  }

  /** See `BlockDevice.discard`. Parts of clusters are left alone. */
  discard(offset: number, length: number): Promise<void> {
    return this.#shared(async () => {
      await this.#prepared();
      await discardRange(this.state, offset, offset + length, this.#writeZeroData);
    }, offset + length);
  }

  /** See `BlockDevice.flush`: at most three barriers, whatever has been written before. */
  flush(): Promise<void> {
    return this.#shared(() => this.state.commit.flush());
  }

  /** See `BlockDevice.resize`. */
  async resize(size: number, options?: ResizeOptions): Promise<void> {
    await this.#alone(async () => {
      this.state.fence.check();
      await this.#prepared();
      await resizeImage(this.state, size, options, this.#writeZeroData);
    });
  }

  /**
   * Waits for requests, writes all metadata, gives unused space back and makes everything durable. Idempotent. An image that
   * is fenced is left as it is.
   */
  close(): Promise<void> {
    this.#closing ??= this.#alone(() => this.#finish());
    return this.#closing;
  }

  /** See `BlockDevice.changeBackingFile`. */
  async changeBackingFile(backing: NamedBacking | null): Promise<void> {
    this.state.fence.check();
    headerWithBacking(this.state.image, backing);
    await this.#alone(async () => {
      await this.#prepared();
      await recordBackingFile(this.state, backing);
    });
  }

  /** Undefined when the request cannot be done by writing to one contiguous run of clusters that are stored already. */
  #writeInPlace(
    offset: number,
    from: IoVec,
    length: number,
    options: WriteOptions | undefined,
  ): Promise<void> | true | undefined {
    const { state } = this;
    const { image, inFlight, epochs } = state;
    if (!state.prepared || this.#exclusive !== undefined || this.#closing !== undefined) return undefined;
    const end = offset + length;
    const { geometry } = image;
    if (
      inFlight.size > 0 &&
      inFlight.firstWithin(geometry.clusterStart(offset), geometry.clusterEnd(end)) !== undefined
    ) {
      return undefined;
    }
    const slice = image.l2.get(offset);
    if (slice === undefined) return undefined;
    if (isPromise(slice)) {
      // Whoever needs it asks again, and sees why it failed.
      slice.catch(() => {});
      return undefined;
    }
    const run = this.#run;
    findWriteRun(slice, geometry, image.hasDataFile, offset, end, run);
    if (run.action !== WriteAction.InPlace || run.end < end) return undefined;
    const host = run.host + (offset % geometry.clusterSize);
    if (host + length > state.data.size) return undefined;
    state.mustNotOverlap(host, length);
    const epoch = epochs.begin();
    this.#active += 1;
    const leave = (): void => {
      epochs.end(epoch);
      this.#leave();
    };
    let written: MaybePromise<void>;
    try {
      written = state.data.write(host, from, options);
    } catch (error) {
      leave();
      throw error;
    }
    if (isPromise(written)) return settle(written, leave);
    leave();
    return true;
  }

  /** Whether the clusters that are stored already begin with a piece too small to be copied by itself. */
  async #isScattered(offset: number, end: number): Promise<boolean> {
    const { image } = this.state;
    const slice = await image.l2.get(offset);
    if (slice === undefined) return false;
    const run = this.#run;
    findWriteRun(slice, image.geometry, image.hasDataFile, offset, end, run);
    return run.action === WriteAction.InPlace && run.end < end && run.end - offset < LEAST_COPY;
  }

  async #write(offset: number, payload: Payload, length: number): Promise<void> {
    await this.#prepared();
    const { state } = this;
    const { image, inFlight } = state;
    const { geometry } = image;
    const end = offset + length;
    const parts = new Parts();
    try {
      for (let at = offset; at < end && !parts.failed;) {
        if (state.commit.pressing) await state.commit.relieve();
        const claim = inFlight.firstWithin(geometry.clusterStart(at), geometry.clusterEnd(end));
        if (claim !== undefined && claim.start <= at) {
          await inFlight.wait(claim);
          continue;
        }
        const limit = Math.min(end, claim?.start ?? end);
        const answer = state.writableSlice(at);
        if (isPromise(answer)) {
          await answer;
          continue;
        }
        if (answer === undefined) throw state.fence.corrupt(`the L2 table for guest offset ${at} is gone`);
        const run = this.#run;
        findWriteRun(answer, geometry, image.hasDataFile, at, limit, run);
        const data = payload.part(at - offset, run.end - at);
        const { end: runEnd, action, host } = run;
        if (action === WriteAction.Invalid) {
          throw state.fence.corrupt(
            `the mapping of guest offset 0x${at.toString(16)} is invalid (host offset 0x${host.toString(16)})`,
            at,
          );
        }
        parts.add(
          action === WriteAction.InPlace
            ? this.#writeMapped(host + (at % geometry.clusterSize), data, runEnd - at)
            : writeAllocating(state, { slice: answer, action, host, offset: at, end: runEnd }, data),
        );
        at = runEnd;
        if (parts.running >= PARTS_IN_FLIGHT) await parts.oneDone();
      }
    } finally {
      await parts.allDone();
    }
    parts.check();
    if (state.commit.wanted) state.commit.startInBackground();
  }

  async #writeMapped(host: number, data: Payload, length: number): Promise<void> {
    const { state } = this;
    state.mustNotOverlap(host, length);
    const epoch = state.epochs.begin();
    try {
      if (host + length > state.data.size) await this.#mustBeCounted(host, length);
      await data.writeTo(state.data, host);
    } finally {
      state.epochs.end(epoch);
    }
  }

  /** Sparse images map clusters beyond the end of their file; broken ones map clusters that nobody counts. */
  async #mustBeCounted(host: number, length: number): Promise<void> {
    const { state } = this;
    if (state.image.hasDataFile) return;
    const { clusterSize } = state.image.geometry;
    for (let cluster = Math.floor(host / clusterSize); cluster * clusterSize < host + length; cluster += 1) {
      if ((await state.refcounts.get(cluster)) > 0) continue;
      throw state.fence.corrupt(
        `a data cluster at offset 0x${(cluster * clusterSize).toString(16)} is outside the file, and its refcount is zero`,
        cluster * clusterSize,
      );
    }
  }

  readonly #writeZeroData = async (offset: number, end: number): Promise<void> => {
    for (let at = offset; at < end; at += ZERO_WRITE) {
      const length = Math.min(ZERO_WRITE, end - at);
      await this.#write(at, new MemoryPayload(zeroVector(length), false), length);
    }
  };

  async #prepared(): Promise<void> {
    this.state.fence.check();
    if (!this.state.prepared) await this.state.prepare();
  }

  async #finish(): Promise<void> {
    const { state } = this;
    await state.fence.settled();
    if (state.fence.failure !== undefined) throw state.fence.failure;
    if (!state.prepared) return;
    await state.streams.giveBack();
    await commitUntilClean(state.commit, state.released, state.image.label);
    state.fence.check();
    await state.trim();
    await state.commit.flush();
  }

  /** Runs a request, which ends at guest offset `end`, beside others, but not beside one that tolerates none. */
  async #shared(run: () => Promise<void>, end = 0): Promise<void> {
    for (;;) {
      // Asked again after each wait: what is waited for may be the closing.
      if (this.#closing !== undefined) {
        const { label } = this.state.image;
        throw new BlockError("ESHUTDOWN", `${label} is closed`, { node: label });
      }
      if (this.#exclusive === undefined) break;
      await this.#exclusive;
    }
    const { label, virtualSize } = this.state.image;
    if (end > virtualSize) {
      // What it waited for has made the disk smaller; behind its end everything is lost.
      throw new BlockError(
        "EINVAL",
        `${label}: the request ends at ${end}, and the disk at ${virtualSize} since it was resized`,
        { node: label },
      );
    }
    this.#active += 1;
    try {
      await run();
    } finally {
      this.#leave();
    }
  }

  /** Runs a request when all others have ended; new ones wait for it. */
  async #alone(run: () => Promise<void>): Promise<void> {
    while (this.#exclusive !== undefined) await this.#exclusive;
    const { promise, resolve } = deferred();
    this.#exclusive = promise;
    try {
      while (this.#active > 0) {
        this.#idle ??= deferred();
        await this.#idle.promise;
      }
      await run();
    } finally {
      this.#exclusive = undefined;
      resolve();
    }
  }

  #leave(): void {
    this.#active -= 1;
    if (this.#active > 0 || this.#idle === undefined) return;
    const idle = this.#idle;
    this.#idle = undefined;
    idle.resolve();
  }
}

function settle(written: Promise<void>, leave: () => void): Promise<void> {
  return written.then(leave, (error: unknown) => {
    leave();
    throw error;
  });
}

/** The parts of one request: the first failure counts, but all have to end before the request does. */
class Parts {
  readonly #running = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  get running(): number {
    return this.#running.size;
  }

  get failed(): boolean {
    return this.#failure !== undefined;
  }

  add(part: Promise<void>): void {
    const ended = part
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#running.delete(ended));
    this.#running.add(ended);
  }

  async oneDone(): Promise<void> {
    await Promise.race(this.#running);
  }

  async allDone(): Promise<void> {
    await Promise.all(this.#running);
  }

  check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
