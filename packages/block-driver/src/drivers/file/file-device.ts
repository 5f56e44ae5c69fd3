import type {
  BlockDevice,
  DeviceInfo,
  IoOptions,
  ResizeOptions,
  StatusOptions,
  WriteOptions,
  ZeroOptions,
} from "../../contract/device.ts";
import { ExtentFlag, type ExtentList } from "../../contract/extents.ts";
import { iovLength, type IoVec, type MaybePromise } from "../../contract/io.ts";
import { BlockError } from "../../errors.ts";
import { deferred, type Deferred } from "../../io/deferred.ts";
import { allocateSpace, setSize } from "./allocate-space.ts";
import { describeCapabilities, describeDevice, type FileDeviceInit } from "./describe-device.ts";
import { EarlyWriteback } from "./early-writeback.ts";
import { cannotZero, fileError, hasNoTables } from "./file-errors.ts";
import type { FileOps } from "./file-ops.ts";
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
import { RangeCopier } from "./range-copier.ts";
import { hasNoBlocks } from "./space-trust.ts";
import { isUnsupported } from "./system-error.ts";

/** Largest read, in bytes, that is copied on the main thread: its time stays in the order of a turn of the event loop. */
const MAX_CACHED_READ: number = 32 * 1024;

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
    source: BlockDevice,
    sourceOffset: number,
    length: number,
  ) => MaybePromise<number>;

  readonly #fd: number;
  readonly #kind: OpenFile["kind"];
  readonly #label: string;
  readonly #calls: FileCalls;
  readonly #ops: FileOps | undefined;
  readonly #canReadCached: boolean;
  readonly #holes: HoleMap | undefined;
  readonly #trustsBlockCount: boolean;
  readonly #canPunch: boolean;
  readonly #locked: boolean;
  readonly #openAgain: FileDeviceInit["openAgain"];
  readonly #lockClaim: LockClaim;
  readonly #copier: RangeCopier<FileDevice> | undefined;
  readonly #writeback: EarlyWriteback | undefined;
  readonly #inline: InlineWrites | undefined;
  #canZeroRange: boolean;
  #info: DeviceInfo;
  /** Changes that have settled, and how many of them the last good flush covered. */
  #changes = 0;
  #flushedChanges = -1;
  #flushes = 0;
  #inFlight = 0;
  #idle: Deferred | undefined;
  #fence: BlockError | undefined;
  #closing: Promise<void> | undefined;

  constructor(init: FileDeviceInit) {
    const { file, ops, readOnly } = init;
    this.#fd = file.fd;
    this.#kind = file.kind;
    this.#label = init.filename;
    this.#calls = init.calls;
    this.#ops = ops;
    // Calls that a program brought along are all to be made.
    this.#canReadCached = ops?.readCached !== undefined && init.calls === NODE_CALLS;
    // A block device has no holes to ask for: seeking finds data everywhere.
    this.#holes = ops !== undefined && file.kind === "regular" ? new HoleMap(ops, file.fd) : undefined;
    this.#trustsBlockCount = init.trustsBlockCount;
    this.#canPunch = init.canPunch;
    this.#canZeroRange = ops !== undefined;
    this.#locked = init.locked;
    this.#openAgain = init.openAgain;
    this.#lockClaim = lockClaim(readOnly, file.kind === "regular" && !init.fixed);
    this.#writeback = ops === undefined || readOnly ? undefined : new EarlyWriteback(ops, file.fd);
    this.#inline = init.inline ? new InlineWrites(file.fd) : undefined;
    const can = describeCapabilities(init);
    this.#info = describeDevice(init, can);
    if (!readOnly) {
      this.write = this.#write;
      this.flush = this.#flush;
    }
    if (can.writeZeroes !== "no") this.writeZeroes = this.#writeZeroes;
    if (can.discard !== "no") this.discard = this.#discard;
    if (can.resize !== "no") this.resize = this.#resize;
    if (can.copyRange && ops !== undefined) {
      this.#copier = new RangeCopier(ops);
      this.copyRange = this.#copyRange;
    }
  }

  get info(): DeviceInfo {
    return this.#info;
  }

  read(offset: number, into: IoVec, options?: IoOptions): MaybePromise<void> {
    const length = iovLength(into);
    this.#admit("read", offset, length, options);
    if (length === 0 || this.#readCached(offset, into, length)) return undefined;
    return this.#request("read", offset, length, false, (settle) =>
      readFully(this.#calls, this.#fd, offset, into, settle),
    );
  }

  status(offset: number, length: number, extents: ExtentList, options?: StatusOptions): void {
    this.#admit("status", offset, length, options);
    extents.reset(offset);
    if (length === 0) return;
    const { size } = this.#info;
    if (this.#holes !== undefined) {
      try {
        this.#holes.describe(offset, length, size, extents);
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
    if (this.#fence !== undefined) throw this.#fence;
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
    this.#admit("write", offset, length, options);
    if (length === 0 || this.#writeInline(offset, from)) return undefined;
    return this.#request("write", offset, length, true, (settle) =>
      writeFully(this.#calls, this.#fd, offset, from, (error) => {
        if (error === undefined) this.#writeOutEarly(offset, length);
        settle(error);
      }),
    );
  };

  readonly #writeZeroes = (offset: number, length: number, options?: ZeroOptions): MaybePromise<void> => {
    this.#admit("writeZeroes", offset, length, options);
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
    this.#admit("discard", offset, length, options);
    if (length === 0) return undefined;
    return this.#changeSpace("discard", offset, length, (ops) => ops.punchHole(this.#fd, offset, length));
  };

  /** Settled writes are durable afterwards; with none since the last flush there is nothing to do. */
  readonly #flush = (options?: IoOptions): MaybePromise<void> => {
    this.#admit("flush", 0, 0, options);
    const covered = this.#changes;
    if (covered === this.#flushedChanges) return undefined;
    return this.#tracked(() => this.#sync(covered));
  };

  readonly #resize = (size: number, options?: ResizeOptions): Promise<void> =>
    this.#tracked(async () => {
      this.#admit("resize", 0, 0, options);
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
        this.#changes += 1;
        this.#holes?.forget();
      }
      this.#info = { ...this.#info, size };
    });

  readonly #copyRange = (
    offset: number,
    source: BlockDevice,
    sourceOffset: number,
    length: number,
  ): MaybePromise<number> => {
    this.#admit("copyRange", offset, length, undefined);
    if (this.#copier === undefined || length === 0 || !(#fd in source)) return 0;
    if (this.#kind !== "regular" || source.#kind !== "regular") return 0;
    source.#admit("copyRange", sourceOffset, length, undefined);
    const copier = this.#copier;
    return source.#tracked(() =>
      this.#tracked(async () => {
        try {
          return await copier.copy(source, {
            sourceFd: source.#fd,
            sourceOffset,
            targetFd: this.#fd,
            targetOffset: offset,
            length,
          });
        } catch (error) {
          throw this.#error(error, "copyRange", offset, length);
        } finally {
          this.#changes += 1;
        }
      }),
    );
  };

  /**
   * A small read of what the host has in memory is answered at once: a trip through the thread pool costs several times what
   * the copy does.
   */
  #readCached(offset: number, into: IoVec, length: number): boolean {
    const piece = into[0];
    if (!this.#canReadCached || length > MAX_CACHED_READ || into.length !== 1 || piece === undefined)
      return false;
    return this.#ops?.readCached?.(this.#fd, piece, offset) === length;
  }

  /** While the file is being flushed the kernel may hold up whoever changes it. */
  #writeInline(offset: number, from: IoVec): boolean {
    if (this.#inline === undefined || this.#flushes > 0 || !this.#inline.write(offset, from)) return false;
    this.#changes += 1;
    return true;
  }

  #changeSpace(
    operation: string,
    offset: number,
    length: number,
    change: (ops: FileOps) => Promise<void>,
  ): Promise<void> {
    return this.#tracked(async () => {
      if (this.#ops === undefined) throw cannotZero(this.#label, offset, length);
      try {
        await change(this.#ops);
      } catch (error) {
        throw this.#error(error, operation, offset, length);
      } finally {
        this.#changes += 1;
        this.#holes?.forget();
      }
    });
  }

  #writeOutEarly(offset: number, length: number): void {
    const writeback = this.#writeback;
    if (writeback?.note(offset, length) === true) void this.#tracked(() => writeback.begin());
  }

  async #sync(covered: number): Promise<void> {
    this.#flushes += 1;
    try {
      await settled((done) => this.#calls.fdatasync(this.#fd, done));
    } catch (error) {
      // After a failed fsync the kernel may have dropped the dirty pages and report success the next time: what the
      // file holds is unknown from now on.
      const cause = this.#error(error, "flush");
      this.#fence ??= new BlockError(
        "BLK_FENCED",
        `${this.#label} refuses requests since a flush failed (${cause.message}); what was written before may be lost: check the storage and reopen it`,
        { node: this.#label, cause },
      );
      throw cause;
    } finally {
      this.#flushes -= 1;
    }
    this.#flushedChanges = Math.max(this.#flushedChanges, covered);
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
    if (actual === expected) return;
    throw new BlockError(
      "EIO",
      `${this.#label} has ${actual} bytes, it had ${expected} when it was opened: another program resized it; reopen it`,
      { node: this.#label, operation: "resize" },
    );
  }

  async #end(): Promise<void> {
    while (this.#inFlight > 0) {
      this.#idle ??= deferred();
      await this.#idle.promise;
    }
    let failure: unknown = this.#fence;
    const covered = this.#changes;
    if (failure === undefined && covered > 0 && covered !== this.#flushedChanges) {
      await this.#sync(covered).catch((error: unknown) => (failure = error));
    }
    if (this.#locked && this.#ops !== undefined) unlockImage(this.#ops, this.#fd);
    try {
      await closeDescriptor(this.#fd);
    } catch (error) {
      failure ??= this.#error(error, "close");
    }
    if (failure !== undefined) throw failure;
  }

  #admit(operation: string, offset: number, length: number, options: IoOptions | undefined): void {
    if (this.#fence !== undefined) throw this.#fence;
    if (this.#closing !== undefined) {
      throw new BlockError("ESHUTDOWN", `${operation} refused: ${this.#label} is closed`, {
        node: this.#label,
        operation,
        offset,
        length,
      });
    }
    if (options?.signal?.aborted === true) {
      throw new BlockError("ECANCELED", `${operation} on ${this.#label} was cancelled`, {
        node: this.#label,
        operation,
        offset,
        length,
      });
    }
  }

  /** One promise for a request, however many system calls it takes. */
  #request(
    operation: string,
    offset: number,
    length: number,
    changes: boolean,
    start: (settle: Settle) => void,
  ): Promise<void> {
    this.#inFlight += 1;
    return new Promise((resolve, reject) => {
      const settle: Settle = (error) => {
        // A failed write may have written a part.
        if (changes) this.#changes += 1;
        this.#leave();
        if (error === undefined) resolve();
        else reject(this.#error(error, operation, offset, length));
      };
      try {
        start(settle);
      } catch (error) {
        settle(error);
      }
    });
  }

  async #tracked<T>(run: () => Promise<T>): Promise<T> {
    this.#inFlight += 1;
    try {
      return await run();
    } finally {
      this.#leave();
    }
  }

  #leave(): void {
    this.#inFlight -= 1;
    if (this.#inFlight > 0 || this.#idle === undefined) return;
    const idle = this.#idle;
    this.#idle = undefined;
    idle.resolve();
  }

  #error(error: unknown, operation: string, offset?: number, length?: number): BlockError {
    return fileError(this.#label, this.#info.size, error, {
      operation,
      ...(offset !== undefined && { offset }),
      ...(length !== undefined && { length }),
    });
  }
}
