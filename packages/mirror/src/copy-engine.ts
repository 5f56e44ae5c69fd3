import { HBitmap, type DirtyArea } from "@blockmirror/hbitmap";
import {
  BlockError,
  iovSlice,
  isPromise,
  type IoOptions,
  type IoVec,
  type MaybePromise,
} from "@blockmirror/block-driver";
import { BufferPool, Loan } from "./buffer-pool.ts";
import { CopyBelow } from "./copy-below.ts";
import type { CopyEngineInit, FailedSide, FillLimits, FillResult } from "./copy-engine-init.ts";
import { beginCopying, endCopying, MAX_OPERATIONS, operationsAllowed } from "./fair-share.ts";
import { InFlightSet } from "./in-flight-set.ts";
import type { AskedSide } from "./silence.ts";
import { writeSparsely } from "./sparse-write.ts";
import { SourceStatus, type SourceExtent } from "./source-status.ts";
import { Sweep } from "./sweep.ts";
import { isTraced, trace } from "./tracing.ts";

/** The most that one copy moves, in bytes, whatever the buffer. */
const MAX_COPY_LENGTH: number = 2 * 1024 * 1024;
const MIN_COPY_LENGTH = 1024 * 1024;
/** The most that one copy made by the storage moves: it takes no memory, and each one wakes a thread and this one again. */
const MAX_COPY_BELOW: number = 8 * 1024 * 1024;
/** So many of them fit into the buffer that each of them may need after all: two run at a time, two wait. */
const COPIES_BELOW = 4;
/** Bytes of one zero operation: large, because it moves nothing; bounded, because it cannot be interrupted. */
const MAX_ZERO_LENGTH = 1024 * 1024 * 1024;
/** Small requests of one turn may go together: nobody waits for one of them. */
const NOT_URGENT: IoOptions = { batch: true };
/** A source that is written to during every status query is copied without asking after this many tries. */
const STATUS_TRIES = 3;

/**
 * Moves dirty chunks from source to target, up to 16 operations at a time. It decides what to do with a run of chunks and
 * does it; when and how fast is the job's business.
 *
 * The order that nothing may change (mirror rules S14.1 and S15.1): look at the source's status, clear the dirty bits and
 * claim the chunks at one instant, then read, then write. Whatever is written to the source after that instant makes the
 * chunks dirty again, and they are copied again.
 */
export class CopyEngine {
  readonly inFlight: InFlightSet;
  /** Ranges whose last operation failed. */
  readonly failed: HBitmap;
  /** Chunks that were copied at least once. */
  readonly copied: HBitmap;
  readonly #init: CopyEngineInit;
  #pool: BufferPool;
  readonly #status: SourceStatus | undefined;
  readonly #sweep: Sweep;
  readonly #below: CopyBelow;
  readonly #loans: Loan[] = [];
  readonly #maxCopyLength: number;
  readonly #maxCopyBelow: number;
  readonly #area: DirtyArea = { start: 0, length: 0 };
  readonly #extent: SourceExtent = { zero: false, length: 0, pieces: 0 };
  readonly #idleWaiters: (() => void)[] = [];
  readonly #endWaiters: (() => void)[] = [];
  #ended = 0;
  #bytesCopied = 0;
  #bytesRecopied = 0;
  #bytesZeroed = 0;
  #bytesSkipped = 0;
  #bytesMirrored = 0;
  #bytesCleared = 0;
  #bytesRedirtied = 0;

  constructor(init: CopyEngineInit) {
    const { source, size, granularity, bufferSize } = init;
    this.#init = init;
    this.#below = new CopyBelow(source, init.target);
    this.#pool = new BufferPool(bufferSize, granularity);
    this.inFlight = new InFlightSet(size, granularity);
    this.failed = new HBitmap({ size, granularity });
    this.copied = new HBitmap({ size, granularity });
    this.#sweep = new Sweep(init.dirty, this.inFlight, size);
    this.#status =
      source.info.can.status === "none" ? undefined : new SourceStatus(source.node, init.dirty, init);
    const share = Math.max(bufferSize / MAX_OPERATIONS, MIN_COPY_LENGTH);
    const most = Math.min(MAX_COPY_LENGTH, share, this.#pool.pieceCount * granularity);
    this.#maxCopyLength = wholeChunks(most, granularity);
    const below = Math.min(MAX_COPY_BELOW, (this.#pool.pieceCount * granularity) / COPIES_BELOW);
    this.#maxCopyBelow = Math.max(this.#maxCopyLength, wholeChunks(below, granularity));
    for (let slot = 0; slot < MAX_OPERATIONS; slot += 1) this.#loans.push(new Loan());
  }

  /** So many chunks can be under way at once, each on its own. */
  get chunksAtOnce(): number {
    return Math.min(MAX_OPERATIONS, this.#pool.pieceCount);
  }

  get bytesCopied(): number {
    return this.#bytesCopied;
  }

  get bytesRecopied(): number {
    return this.#bytesRecopied;
  }

  get bytesZeroed(): number {
    return this.#bytesZeroed;
  }

  get bytesSkipped(): number {
    return this.#bytesSkipped;
  }

  /** Bytes that guests' writes brought to the target by themselves. */
  get bytesMirrored(): number {
    return this.#bytesMirrored;
  }

  /** Bytes that were ever marked dirty by writes: what is dirty, plus what was cleared, less what failures put back. */
  get bytesDirtied(): number {
    return this.#init.dirty.dirtyBytes + this.#bytesCleared - this.#bytesRedirtied;
  }

  /** How often the walk over the dirty chunks has come round. */
  get sweeps(): number {
    return this.#sweep.sweeps;
  }

  /** Submits operations while `mayGoOn` says so and there is something to do, within `limits`. */
  async fill(mayGoOn: () => boolean, limits: FillLimits = {}): Promise<FillResult> {
    const { operations: most = MAX_OPERATIONS, inLargeSteps = false } = limits;
    let tries = 0;
    while (mayGoOn()) {
      const isLarge = inLargeSteps && this.#below.works;
      // A large step waits for room, or it would be cut to what the one before has left.
      const room = isLarge ? this.#maxCopyBelow / this.#pool.pieceSize : 1;
      if (this.inFlight.operations >= Math.min(most, operationsAllowed()) || this.#pool.free < room)
        return this.#full();
      if (!this.#nextArea()) return "exhausted";
      const { start, length } = this.#area;
      const mostData = isLarge ? this.#maxCopyBelow : this.#maxCopyLength;
      if (this.#knows(start, length, mostData) || this.#assumeData(length, tries)) {
        this.#submit(start, this.#extent, mostData);
        tries = 0;
      } else {
        tries += 1;
        await this.#askStatus(start);
      }
    }
    return "held";
  }

  #full(): "full" {
    if (this.#pool.free === 0 && isTraced("yield_buf_busy")) {
      trace("yield_buf_busy", { job: this.#init.job, inFlightOperations: this.inFlight.operations });
    }
    return "full";
  }

  #nextArea(): boolean {
    const { job, dirty } = this.#init;
    const { sweeps } = this.#sweep;
    const found = this.#sweep.next(MAX_ZERO_LENGTH, this.#area);
    if (this.#sweep.sweeps !== sweeps && isTraced("restart_iter")) {
      trace("restart_iter", { job, dirtyBytes: dirty.dirtyBytes });
    }
    if (!found && !dirty.bits.isEmpty && isTraced("yield_in_flight")) {
      trace("yield_in_flight", { job, inFlightOperations: this.inFlight.operations });
    }
    return found;
  }

  /** Operations that have ended. */
  get operationsEnded(): number {
    return this.#ended;
  }

  /** Resolves when no operation runs (mirror rule S32.1). */
  waitForAll(): Promise<void> {
    if (this.inFlight.operations === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  /** Resolves when no operation copies a part of the range; the caller has seen to it that none begins. */
  async waitForRange(offset: number, length: number): Promise<void> {
    while (this.inFlight.isCopying(offset, length)) {
      await new Promise<void>((resolve) => {
        this.#endWaiters.push(resolve);
      });
    }
  }

  /** A guest is about to write whole chunks to both sides: they need no copy unless somebody marks them again. */
  guestBegins(offset: number, length: number): void {
    const { bits } = this.#init.dirty;
    this.#bytesCleared += bits.countRange(offset, length);
    bits.reset(offset, length);
  }

  /** A guest's write has reached the target; `whole` is what it covered in whole chunks. */
  guestSucceeded(length: number, wholeOffset: number, wholeLength: number): void {
    this.#bytesMirrored += length;
    if (wholeLength <= 0) return;
    this.copied.set(wholeOffset, wholeLength);
    if (!this.failed.isEmpty) this.failed.reset(wholeOffset, wholeLength);
  }

  /** A guest's write has not reached the target, or only in part. */
  guestFailed(offset: number, length: number): void {
    this.failed.set(offset, length);
  }

  /** Gives the buffer back. Nothing can be copied any more; counters and bitmaps stay. */
  release(): void {
    this.#pool = new BufferPool(0, this.#init.granularity);
  }

  #knows(offset: number, length: number, mostData: number): boolean {
    return this.#status?.lookUp(offset, length, mostData, this.#extent) === true;
  }

  #assumeData(length: number, tries: number): boolean {
    if (this.#status !== undefined && tries < STATUS_TRIES) return false;
    this.#extent.zero = false;
    this.#extent.length = length;
    this.#extent.pieces = 1;
    return true;
  }

  /** A status query that fails is no error of the data: the range is copied without its help. */
  async #askStatus(offset: number): Promise<void> {
    const { silence } = this.#init;
    silence.begin("read");
    try {
      await this.#status?.query(offset);
    } catch {
      // The next look-up misses again, and after some tries the run is read as data; a real fault shows there.
    } finally {
      silence.end("read");
    }
  }

  #submit(offset: number, extent: SourceExtent, mostData: number): void {
    if (extent.zero) {
      this.#submitZero(offset, extent.length);
      return;
    }
    const room = this.#pool.free * this.#pool.pieceSize;
    const length = Math.min(extent.length, mostData);
    if (room < length && isTraced("break_buf_busy")) {
      trace("break_buf_busy", { job: this.#init.job, offset, length: room });
    }
    this.#submitCopy(offset, Math.min(length, room), extent.length / extent.pieces);
  }

  #submitZero(offset: number, length: number): void {
    this.#claim(offset, length);
    this.#traceSubmit(offset, length, true);
    if (this.#init.zeroMap.covers(offset, length)) {
      this.#bytesSkipped += length;
      this.#end(offset, length);
      return;
    }
    this.#init.onSubmit(this.#init.target.info.can.writeZeroes === "fast" ? 0 : length);
    void this.#zero(offset, length);
  }

  async #zero(offset: number, length: number): Promise<void> {
    const { target, silence } = this.#init;
    silence.begin("write");
    try {
      const result = target.writeZeroes(offset, length, { unmap: true });
      if (isPromise(result)) await result;
    } catch (error) {
      silence.end("write");
      this.#fail("write", error, offset, length);
      return;
    }
    silence.end("write");
    this.#init.zeroMap.learn(offset, length);
    this.#bytesZeroed += length;
    this.#succeed(offset, length);
  }

  #traceSubmit(offset: number, length: number, zero: boolean): void {
    if (isTraced("one_iteration")) trace("one_iteration", { job: this.#init.job, offset, length, zero });
  }

  #submitCopy(offset: number, length: number, piece: number): void {
    this.#claim(offset, length);
    this.#traceSubmit(offset, length, false);
    const loan = this.#loans.pop() ?? new Loan();
    this.#pool.take(length, loan);
    this.#init.onSubmit(length);
    void this.#copy(offset, length, piece, loan);
  }

  async #copy(offset: number, length: number, piece: number, loan: Loan): Promise<void> {
    const { silence } = this.#init;
    let side: FailedSide = "read";
    let asked: AskedSide = "both";
    silence.begin(asked);
    try {
      const copied = this.#copyBelow(offset, length, piece);
      const done = isPromise(copied) ? await copied : copied;
      if (done < length) {
        const buffers = this.#pool.vector(length, loan);
        const rest = done === 0 ? buffers : iovSlice(buffers, done, length - done);
        silence.proceed(asked, "read");
        asked = "read";
        const read = this.#init.source.read(offset + done, rest, NOT_URGENT);
        if (isPromise(read)) await read;
        // Nobody may be waiting for this operation any more.
        if (this.#init.isOver()) throw new BlockError("ECANCELED", "the job is over", { operation: "read" });
        silence.proceed(asked, "write");
        asked = "write";
        side = "write";
        const write = this.#writeTarget(offset + done, length - done, rest);
        if (isPromise(write)) await write;
      }
    } catch (error) {
      silence.end(asked);
      this.#return(loan);
      this.#fail(side, error, offset, length);
      return;
    }
    silence.end(asked);
    this.#return(loan);
    this.#bytesCopied += length;
    this.#bytesRecopied += this.copied.countRange(offset, length);
    this.#succeed(offset, length);
  }

  /** Whoever looks for zeroes has to see the bytes. */
  #copyBelow(offset: number, length: number, piece: number): MaybePromise<number> {
    if (this.#init.detectZeroes) return 0;
    // Forgotten when the copy starts: a failed one may have written a part.
    this.#init.zeroMap.forget(offset, length);
    return this.#below.copy(offset, length, piece);
  }

  #writeTarget(offset: number, length: number, buffers: IoVec): void | Promise<void> {
    const { target, zeroMap, detectZeroes } = this.#init;
    if (detectZeroes) return writeSparsely(this.#init, offset, buffers);
    // Forgotten when the write starts: a failed one may have written a part.
    zeroMap.forget(offset, length);
    return target.write(offset, buffers, NOT_URGENT);
  }

  #claim(offset: number, length: number): void {
    const { bits } = this.#init.dirty;
    this.#bytesCleared += bits.countRange(offset, length);
    bits.reset(offset, length);
    if (this.inFlight.operations === 0) beginCopying();
    this.inFlight.claim(offset, length);
    this.#sweep.advance(offset, length);
  }

  #succeed(offset: number, length: number): void {
    this.copied.set(offset, length);
    if (!this.failed.isEmpty) this.failed.reset(offset, length);
    this.#end(offset, length);
  }

  #fail(side: FailedSide, error: unknown, offset: number, length: number): void {
    const { dirty, onError } = this.#init;
    this.#bytesRedirtied += length - dirty.bits.countRange(offset, length);
    dirty.bits.set(offset, length);
    this.failed.set(offset, length);
    onError(side, error);
    this.#end(offset, length, error);
  }

  #return(loan: Loan): void {
    this.#pool.giveBack(loan);
    this.#loans.push(loan);
  }

  #end(offset: number, length: number, error?: unknown): void {
    this.inFlight.release(offset, length);
    if (isTraced("iteration_done")) {
      trace("iteration_done", { job: this.#init.job, offset, length, ...(error !== undefined && { error }) });
    }
    this.#ended += 1;
    for (const wake of this.#endWaiters.splice(0)) wake();
    if (this.inFlight.operations === 0) {
      endCopying();
      for (const wake of this.#idleWaiters.splice(0)) wake();
    }
    this.#init.onEnd();
  }
}

/** The largest multiple of `granularity` within `length`, and at least one chunk. */
function wholeChunks(length: number, granularity: number): number {
  return Math.max(granularity, Math.floor(length / granularity) * granularity);
}
