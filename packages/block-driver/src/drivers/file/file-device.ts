import type {
  BlockDevice,
  Borrower,
  DeviceInfo,
  IoOptions,
  ResizeOptions,
  StatusOptions,
  WriteOptions,
  ZeroOptions,
} from "../../contract/device.ts";
import { ExtentFlag, type ExtentList } from "../../contract/extents.ts";
import { iovLength, iovSlice, type IoVec, type MaybePromise } from "../../contract/io.ts";
import type { BlockError } from "../../errors.ts";
import { allocateSpace, setSize } from "./allocate-space.ts";
import { CachedReads } from "./cached-reads.ts";
import { describeCapabilities, describeDevice, type FileDeviceInit } from "./describe-device.ts";
import { EarlyWriteback } from "./early-writeback.ts";
import { cannotZero, fileError, hasNoTables, resizedElsewhere } from "./file-errors.ts";
import type { FileOps } from "./file-ops.ts";
import { FileRequests } from "./file-requests.ts";
import { HoleMap } from "./hole-map.ts";
import { lockClaim, lockImage, unlockImage, type LockClaim } from "./image-lock.ts";
import { InlineWrites } from "./inline-writes.ts";
import { closeDescriptor, statDescriptor, type OpenFile } from "./open-file.ts";
import {
  EndOfFileError,
  NODE_CALLS,
  readFully,
  settled,
  writeFully,
  type FileCalls,
  type Settle,
} from "./positional-io.ts";
import { PieceBatches } from "./piece-batches.ts";
import { RangeCopier } from "./range-copier.ts";
import { hasNoBlocks } from "./space-trust.ts";
import { isUnsupported } from "./system-error.ts";

/** A regular file or block device. Made by the `file` driver; see there for what it promises. */
export class FileDevice implements BlockDevice {
  declare readonly write?: (offset: number, from: IoVec, options?: WriteOptions) => MaybePromise<void>;
  declare readonly writeZeroes?: (
    offset: number,
    length: number,
    options?: ZeroOptions,
  ) => MaybePromise<void>;
  declare readonly discard?: (offset: number, length: number, options?: IoOptions) => MaybePromise<void>;
  declare readonly flush?: (options?: IoOptions) => MaybePromise<void>;
  declare readonly resize?: (size: number, options?: ResizeOptions) => Promise<void>;
  declare readonly copyRange?: (
    offset: number,
    storage: BlockDevice,
    sourceOffset: number,
    length: number,
  ) => MaybePromise<number>;
  declare readonly lend?: (offset: number, length: number, borrow: Borrower) => MaybePromise<number>;

  readonly #requests: FileRequests;
  readonly #fd: number;
  readonly #kind: OpenFile["kind"];
  readonly #label: string;
  readonly #calls: FileCalls;
  readonly #ops: FileOps | undefined;
  readonly #cached: CachedReads | undefined;
  readonly #holes: HoleMap | undefined;
  readonly #trustsBlockCount: boolean;
  readonly #canPunch: boolean;
  readonly #locked: boolean;
  readonly #openAgain: FileDeviceInit["openAgain"];
  readonly #lockClaim: LockClaim;
  readonly #copier: RangeCopier<FileDevice> | undefined;
  readonly #writeback: EarlyWriteback | undefined;
  readonly #inline: InlineWrites | undefined;
  readonly #batchedReads: PieceBatches | undefined;
  readonly #batchedWrites: PieceBatches | undefined;
  #canZeroRange: boolean;
  #info: DeviceInfo;
  #flushes = 0;
  #closing: Promise<void> | undefined;

  constructor(init: FileDeviceInit) {
    const { file, ops, readOnly } = init;
    this.#fd = file.fd;
    this.#kind = file.kind;
    this.#label = init.filename;
    this.#requests = new FileRequests(init.filename, (error, operation, offset, length) =>
      this.#error(error, operation, offset, length),
    );
    this.#calls = init.calls;
    this.#ops = ops;
    // Calls that a program brought along are all to be made.
    if (init.isInMemory) this.#cached = CachedReads.ofMemory(file.fd);
    else if (init.calls === NODE_CALLS) this.#cached = CachedReads.of(ops, file.fd);
    // A block device has no holes to ask for: seeking finds data everywhere.
    this.#holes = ops !== undefined && file.kind === "regular" ? new HoleMap(ops, file.fd) : undefined;
    this.#trustsBlockCount = init.trustsBlockCount;
    this.#canPunch = init.canPunch;
    this.#canZeroRange = ops !== undefined;
    this.#locked = init.locked;
    this.#openAgain = init.openAgain;
    this.#lockClaim = lockClaim(readOnly, file.kind === "regular" && !init.fixed);
    this.#writeback = ops === undefined || readOnly ? undefined : new EarlyWriteback(ops, file.fd);
    this.#batchedReads = PieceBatches.of("read", init);
    this.#batchedWrites = readOnly ? undefined : PieceBatches.of("write", init);
    this.#inline = init.writesInline ? new InlineWrites(file.fd) : undefined;
    const can = describeCapabilities(init);
    this.#info = describeDevice(init, can);
    if (!readOnly) {
      this.write = this.#write;
      this.flush = this.#flush;
    }
    if (can.writeZeroes !== "no") this.writeZeroes = this.#writeZeroes;
    if (can.discard !== "no") this.discard = this.#discard;
    if (can.resize !== "no") this.resize = this.#resize;
    if (can.lend) this.lend = this.#lend;
    if (can.copyRange && ops !== undefined) {
      this.#copier = new RangeCopier(ops, file.fd);
      this.copyRange = this.#copyRange;
    }
  }

  get info(): DeviceInfo {
    return this.#info;
  }

  read(offset: number, into: IoVec, options?: IoOptions): MaybePromise<void> {
    const length = iovLength(into);
    this.#requests.admit("read", offset, length, options);
    if (length === 0) return undefined;
    const batches = options?.batch === true ? this.#batchedReads : undefined;
    const cached = this.#cached?.read(offset, into, length, batches !== undefined) ?? 0;
    if (cached === length) return undefined;
    const rest = cached === 0 ? into : iovSlice(into, cached, length - cached);
    return this.#requests.transfer("read", offset, length, false, (settle) => {
      if (batches !== undefined) batches.add(offset + cached, rest, settle);
      else readFully(this.#calls, this.#fd, offset + cached, rest, settle);
    });
  }

  status(offset: number, length: number, extents: ExtentList, options?: StatusOptions): void {
    this.#requests.admit("status", offset, length, options);
    extents.reset(offset);
    if (length === 0) return;
    const { size } = this.#info;
    if (this.#holes !== undefined) {
      try {
        this.#holes.describe(offset, length, size, extents, options?.precise !== false);
      } catch (error) {
        throw this.#error(error, "status", offset, length);
      }
      if (extents.count === 0) throw this.#error(new EndOfFileError(offset), "status", offset, length);
    } else {
      const isHole = this.#trustsBlockCount && hasNoBlocks(this.#fd);
      extents.append(size - offset, isHole ? ExtentFlag.Zero : ExtentFlag.Data);
    }
  }

  /** A descriptor keeps the mode it was opened with, so the file gets a second one; what was written is durable before. */
  async reopen(readOnly: boolean): Promise<BlockDevice> {
    if (this.#requests.fence !== undefined) throw this.#requests.fence;
    await this.flush?.();
    const ops = this.#locked ? this.#ops : undefined;
    return this.#openAgain(readOnly, {
      identity: this.#info.identity,
      unlock: () => {
        if (ops !== undefined) unlockImage(ops, this.#fd);
      },
      relock: () => {
        if (ops !== undefined) lockImage(ops, this.#fd, this.#lockClaim, this.#label);
      },
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  readonly #write = (offset: number, from: IoVec, options?: WriteOptions): MaybePromise<void> => {
    const length = iovLength(from);
    this.#requests.admit("write", offset, length, options);
    if (length === 0) return undefined;
    const batches = options?.batch === true ? this.#batchedWrites : undefined;
    if (this.#writeInline(offset, from, batches !== undefined)) return undefined;
    return this.#requests.transfer("write", offset, length, true, (settle) => {
      const finish: Settle = (error) => {
        if (error === undefined) this.#writeOutEarly(offset, length);
        settle(error);
      };
      if (batches !== undefined) batches.add(offset, from, finish);
      else writeFully(this.#calls, this.#fd, offset, from, finish);
    });
  };

  readonly #writeZeroes = (offset: number, length: number, options?: ZeroOptions): MaybePromise<void> => {
    this.#requests.admit("writeZeroes", offset, length, options);
    if (length === 0) return undefined;
    return this.#changeSpace("writeZeroes", offset, length, async (ops) => {
      if (options?.unmap === true && this.#canPunch) {
        await ops.punchHole(this.#fd, offset, length);
        return;
      }
      if (!this.#canZeroRange) throw cannotZero(this.#label, offset, length);
      try {
        await ops.zeroRange(this.#fd, offset, length);
      } catch (error) {
        if (!isUnsupported(error)) throw error;
        // Asking the file system costs a block even when nothing is wanted, so it is only found out here.
        this.#canZeroRange = false;
        throw cannotZero(this.#label, offset, length, error);
      }
    });
  };

  readonly #discard = (offset: number, length: number, options?: IoOptions): MaybePromise<void> => {
    this.#requests.admit("discard", offset, length, options);
    if (length === 0) return undefined;
    return this.#changeSpace("discard", offset, length, (ops) => ops.punchHole(this.#fd, offset, length));
  };

  /** Settled writes are durable afterwards; with none since the last flush there is nothing to do. */
  readonly #flush = (options?: IoOptions): MaybePromise<void> => {
    this.#requests.admit("flush", 0, 0, options);
    if (this.#requests.isFlushed) return undefined;
    return this.#requests.track(() => this.#sync());
  };

  readonly #resize = (size: number, options?: ResizeOptions): Promise<void> =>
    this.#requests.track(async () => {
      this.#requests.admit("resize", 0, 0, options);
      const before = this.#info.size;
      if (options?.preallocation === "metadata") throw hasNoTables(this.#label);
      try {
        await this.#assertUnchangedSize(before);
        await setSize(this.#calls, this.#fd, size);
        if (size > before && options?.preallocation === "full") {
          await this.#fill(before, size, options.signal);
        }
      } catch (error) {
        throw this.#error(error, "resize");
      } finally {
        this.#requests.noteChange();
        this.#holes?.forget();
      }
      this.#info = { ...this.#info, size };
    });

  readonly #lend = (offset: number, length: number, borrow: Borrower): MaybePromise<number> => {
    this.#requests.admit("lend", offset, length, undefined);
    return this.#requests.track(async () => borrow(this, offset, length));
  };

  readonly #copyRange = (
    offset: number,
    storage: BlockDevice,
    sourceOffset: number,
    length: number,
  ): MaybePromise<number> => {
    this.#requests.admit("copyRange", offset, length, undefined);
    const copier = this.#copier;
    if (copier === undefined || length === 0 || !(#fd in storage) || storage.#kind !== "regular") return 0;
    storage.#requests.admit("copyRange", sourceOffset, length, undefined);
    const copy = async (): Promise<number> => {
      const range = {
        sourceFd: storage.#fd,
        sourceOffset,
        targetOffset: offset,
        length,
      };
      try {
        const copied = await copier.copy(storage, range);
        this.#writeOutEarly(offset, copied);
        return copied;
      } catch (error) {
        throw this.#error(error, "copyRange", offset, length);
      } finally {
        this.#requests.noteChange();
      }
    };
    return storage.#requests.track(() => this.#requests.track(copy));
  };

  /** While the file is being flushed the kernel may hold up whoever changes it. */
  #writeInline(offset: number, from: IoVec, isOneOfMany: boolean): boolean {
    if (this.#inline === undefined || this.#flushes > 0) return false;
    if (!this.#inline.write(offset, from, isOneOfMany)) return false;
    this.#requests.noteChange();
    return true;
  }

  #changeSpace(
    operation: string,
    offset: number,
    length: number,
    change: (ops: FileOps) => Promise<void>,
  ): Promise<void> {
    return this.#requests.track(async () => {
      if (this.#ops === undefined) throw cannotZero(this.#label, offset, length);
      try {
        await change(this.#ops);
      } catch (error) {
        throw this.#error(error, operation, offset, length);
      } finally {
        this.#requests.noteChange();
        this.#holes?.forget();
      }
    });
  }

  #writeOutEarly(offset: number, length: number): void {
    const writeback = this.#writeback;
    if (writeback?.note(offset, length) === true) void this.#requests.track(() => writeback.begin());
  }

  async #sync(): Promise<void> {
    const covered = this.#requests.changes;
    this.#flushes += 1;
    try {
      await settled((done) => this.#calls.fdatasync(this.#fd, done));
    } catch (error) {
      const cause = this.#error(error, "flush");
      this.#requests.refuseFurther(cause);
      throw cause;
    } finally {
      this.#flushes -= 1;
    }
    this.#requests.noteFlush(covered);
  }

  async #fill(from: number, to: number, signal: AbortSignal | undefined): Promise<void> {
    try {
      await allocateSpace(this.#calls, this.#ops, this.#fd, from, to, signal);
    } catch (error) {
      await setSize(this.#calls, this.#fd, from).catch(() => {});
      throw error;
    }
  }

  async #assertUnchangedSize(expected: number): Promise<void> {
    const actual = Number((await statDescriptor(this.#fd)).size);
    if (actual !== expected) throw resizedElsewhere(this.#label, expected, actual);
  }

  async #end(): Promise<void> {
    await this.#requests.end();
    const { fence, changes, isFlushed } = this.#requests;
    let failure: unknown = fence;
    if (failure === undefined && changes > 0 && !isFlushed) {
      await this.#sync().catch((error: unknown) => (failure = error));
    }
    if (this.#locked && this.#ops !== undefined) unlockImage(this.#ops, this.#fd);
    await this.#copier?.close();
    try {
      await closeDescriptor(this.#fd);
    } catch (error) {
      failure ??= this.#error(error, "close");
    }
    if (failure !== undefined) throw failure;
  }

  #error(error: unknown, operation: string, offset?: number, length?: number): BlockError {
    return fileError(this.#label, this.#info.size, error, {
      operation,
      ...(offset !== undefined && { offset }),
      ...(length !== undefined && { length }),
    });
  }
}
