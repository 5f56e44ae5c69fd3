import type { BitmapStore } from "./bitmap-store.ts";
import type { ExtentList } from "./extents.ts";
import type { IoVec, MaybePromise } from "./io.ts";

/** The largest device, in bytes: beyond it offsets are no longer exact numbers. */
export const MAX_DEVICE_SIZE: number = Number.MAX_SAFE_INTEGER;

/**
 * What a device can do by itself. What is announced here must be there as a method; a method whose capability says no is
 * never called. The block layer emulates what is missing, so users of a node never look here except to choose a faster
 * way.
 */
export interface DeviceCapabilities {
  /** `write` exists. */
  readonly write: boolean;
  /** `write` and `writeZeroes` honour `fua`; otherwise the block layer flushes behind them. */
  readonly fua: boolean;
  /** `writeZeroes`: absent, there but no faster than writing, or fast (metadata only). */
  readonly writeZeroes: "no" | "slow" | "fast";
  /** `writeZeroes` with `unmap` gives the space back. */
  readonly unmap: boolean;
  /** `discard`: absent, a hint with unknown content afterwards, or reads as zeroes afterwards. */
  readonly discard: "no" | "hint" | "zeroes";
  /** `flush` exists. A device without it has nothing volatile. */
  readonly flush: boolean;
  /** `resize`: absent, only larger, or both ways. */
  readonly resize: "no" | "grow" | "both";
  /** How much `status` knows: `none` answers all data; `coarse` may call zeroes data; `exact` misses nothing stored as a hole. */
  readonly status: "none" | "coarse" | "exact";
  /** `copyRange` exists. */
  readonly copyRange: boolean;
  /** `lend` exists. */
  readonly lend: boolean;
}

/** Alignments in bytes, each a power of two. The device's size is a multiple of `read` and `write`. */
export interface DeviceAlignment {
  /** `read` offsets and lengths must be multiples of this; the block layer widens requests to it. */
  readonly read: number;
  /** `write` offsets and lengths must be multiples of this; the block layer reads, modifies and writes. */
  readonly write: number;
  /** `writeZeroes` must be aligned to this; the block layer writes the unaligned ends as data. */
  readonly zero: number;
  /** `discard` must be aligned to this; the block layer drops the unaligned ends. */
  readonly discard: number;
  /** Unit of allocation: the cluster or subcluster size, or 0 when the device has none. */
  readonly allocation: number;
  /** The request size the device likes best. */
  readonly optimal: number;
}

/** Largest requests a device accepts; the block layer splits beyond them. */
export interface DeviceLimits {
  /** Bytes in one `read` or `write`. */
  readonly transfer: number;
  /** Pieces in one vector. */
  readonly iovecs: number;
}

/** The name of a backing file as an image records it, whether or not it is open. */
export interface NamedBacking {
  /** The name exactly as recorded. */
  readonly filename: string;
  /** The recorded format, if any. */
  readonly format?: string;
}

/** Facts about an open device: an immutable snapshot, replaced as a whole after `resize`. */
export interface DeviceInfo {
  /** Name of the driver that opened it. */
  readonly driver: string;
  /** For messages: a path, a URI, or a name. */
  readonly label: string;
  /** Size in bytes, at most {@link MAX_DEVICE_SIZE}. */
  readonly size: number;
  /** True when every changing operation is refused with `EROFS`. */
  readonly readOnly: boolean;
  readonly align: DeviceAlignment;
  readonly max: DeviceLimits;
  readonly can: DeviceCapabilities;
  /** Identity of the storage (`file:<dev>:<ino>`), so that the same storage is never opened twice for writing. */
  readonly identity?: string;
  /** The path of the file below, where there is one: relative names inside an image resolve from its directory. */
  readonly filename?: string;
  /** The backing file an image names, whether or not it was opened. */
  readonly namedBacking?: NamedBacking;
  /** Bytes the device allocates below, if it knows. */
  readonly allocatedSize?: number;
  /** Facts of one driver, for people and tools (qcow2: version, cluster size, bitmaps). */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** Options of every request. */
export interface IoOptions {
  /** Aborting it ends the request with `ECANCELED` if nothing has been changed yet. */
  readonly signal?: AbortSignal;
  /**
   * Nobody waits for this request alone: it may be carried out after others of the same turn of the event loop, where that is
   * cheaper. Default false.
   */
  readonly batch?: boolean;
}

/** Options of `write`. */
export interface WriteOptions extends IoOptions {
  /** The data is durable when the request settles. */
  readonly fua?: boolean;
}

/** Options of `writeZeroes`. */
export interface ZeroOptions extends WriteOptions {
  /** Give the space back where that is possible. */
  readonly unmap?: boolean;
  /** Fail with `ENOTSUP` rather than write zero buffers. */
  readonly noFallback?: boolean;
}

/** Options of `status`. */
export interface StatusOptions extends IoOptions {
  /** False lets a driver call zeroes data where they fill no `COARSE_BLOCK`, never the reverse. Default true. */
  readonly precise?: boolean;
}

/** Options of `resize`. */
export interface ResizeOptions extends IoOptions {
  /**
   * Space for the new part. `off` leaves it a hole that reads as zeroes; `metadata` gives it its place in a format's tables,
   * without taking the space; `full` takes the space. Default `off`. A file, which has no
   * tables, refuses `metadata` with `ENOTSUP`.
   */
  readonly preallocation?: "off" | "metadata" | "full";
}

/**
 * Takes a range that {@link BlockDevice.lend} offers: `length` bytes from `offset` of `storage`, which stay what they are
 * until the result settles. Returns the bytes used, from the start of the range.
 */
export type Borrower = (storage: BlockDevice, offset: number, length: number) => MaybePromise<number>;

/**
 * An open device: what a driver's `open` returns. Required are `info`, `read`, `status` and `close`; everything else is
 * optional and announced in `info.can`.
 *
 * Contract:
 * - Offsets and lengths arrive as safe integers inside `[0, size]`, aligned and within `info.max`: the block layer has
 *   checked, aligned and split them.
 * - Requests may overlap in time. Overlapping writes leave either content per `align.write` block; metadata is never torn.
 * - `flush` covers every write that settled before `flush` was called.
 * - Buffers belong to the caller. A driver never keeps or changes them after the request settles.
 * - Failures reject (or throw) with {@link BlockError}; `ENOTSUP` only ever means "this operation or flag is not there".
 */
export interface BlockDevice {
  readonly info: DeviceInfo;

  /** The dirty bitmaps that the device keeps from one opening to the next, where it can. */
  readonly bitmaps?: BitmapStore;

  /** Reads exactly the vector's length. Content of the buffers is undefined after a failure. */
  read(offset: number, into: IoVec, options?: IoOptions): MaybePromise<void>;

  /**
   * Describes `[offset, offset + length)` of this layer only, from `offset` on, into `extents` (which it resets first).
   * It may stop early but covers at least one byte; it may also say more than was asked, up to the end of the device.
   */
  status(offset: number, length: number, extents: ExtentList, options?: StatusOptions): MaybePromise<void>;

  /** Ends the device: waits for requests, flushes, releases everything. Idempotent; rejects if the last flush failed. */
  close(): Promise<void>;

  /** Writes exactly the vector's length. The caller leaves the buffers unchanged until it settles. */
  write?(offset: number, from: IoVec, options?: WriteOptions): MaybePromise<void>;

  /** Makes the range read as zeroes. */
  writeZeroes?(offset: number, length: number, options?: ZeroOptions): MaybePromise<void>;

  /** The content is no longer needed. Advisory unless `can.discard` is `zeroes`. */
  discard?(offset: number, length: number, options?: IoOptions): MaybePromise<void>;

  /** Makes settled writes durable, metadata and every child included. */
  flush?(options?: IoOptions): MaybePromise<void>;

  /** Changes the size in bytes; new space reads as zeroes. `info` is replaced before it settles. */
  resize?(size: number, options?: ResizeOptions): Promise<void>;

  /**
   * Opens the same storage once more, read-only or for writing, and returns the device that takes this one's place. The
   * graph calls it while no request is in flight, and closes this device afterwards unless it was returned itself.
   *
   * After a failure this device is as usable as before. What both share (memory, a lock that another opening of this
   * program would contradict) is handed over here: closing this device must not take it away. The other one is the same
   * storage: the same size, and the same `identity`; if the name leads elsewhere by now, it fails with `EBUSY`.
   *
   * Formats and filters need no such method: without it the graph opens them again over the children they have, first
   * the new device and then closing this one when it was read-only, the other way round when it could write. Protocols
   * without it stay as they were opened.
   */
  reopen?(readOnly: boolean): Promise<BlockDevice>;

  /**
   * Changes the name of the backing file that the image records, durably when it settles; null records none. Children
   * that are open stay as they are, and no guest data changes: ranges that this layer does not hold go on being
   * deferred. `info.namedBacking` is replaced before it settles. The graph calls it on writable devices only, while no
   * request is in flight. A format that is not given is not recorded. Either the old name or the new one is recorded
   * after a crash.
   * @throws BlockError `EINVAL` for a name that does not fit into the image, with nothing changed.
   */
  changeBackingFile?(backing: NamedBacking | null): Promise<void>;

  /**
   * Told, with true, that somebody waits for the requests in this device: its node is drained, or closed. A device that
   * holds requests back on purpose, such as one that limits their rate, lets those that wait go on at once, and those that
   * come as well, until it is told false; a job may copy the last bytes of a disk meanwhile, with guests waiting for it. All
   * others do without this member.
   *
   * It may be told the same twice. It must not throw, and nobody waits for it.
   */
  setDrained?(isDrained: boolean): void;

  /**
   * Copies from another device without moving the bytes through this process: `[sourceOffset, sourceOffset + length)` of
   * `storage`, a device that lent it, to `offset` here. Returns the bytes copied from the start of the range; 0 means
   * "cannot, copy it yourself". What was not reported as copied has unknown content afterwards, as after a failed write.
   */
  copyRange?(
    offset: number,
    storage: BlockDevice,
    sourceOffset: number,
    length: number,
  ): MaybePromise<number>;

  /**
   * Lends a range to somebody who can copy it where it is stored. Calls `borrow` at most once, with the device that stores
   * the start of the range byte for byte and with as much of it as lies there in one piece, and sees to it that the bytes
   * stay in that place until what `borrow` returned has settled; a write that arrives meanwhile may or may not be seen, as
   * by a read. Returns what `borrow` returned, or 0 when the start of the range is not stored like that.
   */
  lend?(offset: number, length: number, borrow: Borrower): MaybePromise<number>;
}

/**
 * A child as its parent's driver sees it: a node behind an edge of the graph, fully capable. What the device below
 * lacks is emulated, requests need no alignment, and the edge follows when the graph replaces the node.
 *
 * Methods answer synchronously where the device below does, and may throw as well as reject: use `await`, or check
 * with {@link isPromise} on a hot path.
 */
export interface BlockChild {
  /** Facts of the device now below; read it again after anything that may have changed the graph. */
  readonly info: DeviceInfo;
  read(offset: number, into: IoVec, options?: IoOptions): MaybePromise<void>;
  write(offset: number, from: IoVec, options?: WriteOptions): MaybePromise<void>;
  writeZeroes(offset: number, length: number, options?: ZeroOptions): MaybePromise<void>;
  discard(offset: number, length: number, options?: IoOptions): MaybePromise<void>;
  flush(options?: IoOptions): MaybePromise<void>;
  resize(size: number, options?: ResizeOptions): Promise<void>;
  /** Layer-local, as {@link BlockDevice.status}. */
  status(offset: number, length: number, extents: ExtentList, options?: StatusOptions): MaybePromise<void>;
  /** As {@link BlockDevice.copyRange}; 0 where the device has none. */
  copyRange(offset: number, storage: BlockDevice, sourceOffset: number, length: number): MaybePromise<number>;
  /** As {@link BlockDevice.lend}; 0 where the device has none. */
  lend(offset: number, length: number, borrow: Borrower): MaybePromise<number>;
}

/** Capabilities of a device that only reads; spread it and change what differs. */
export const READ_ONLY_CAPABILITIES: DeviceCapabilities = Object.freeze({
  write: false,
  fua: false,
  writeZeroes: "no",
  unmap: false,
  discard: "no",
  flush: false,
  resize: "no",
  status: "none",
  copyRange: false,
  lend: false,
});

/** Alignment of a device that takes any byte range; spread it and change what differs. */
export const BYTE_ALIGNMENT: DeviceAlignment = Object.freeze({
  read: 1,
  write: 1,
  zero: 1,
  discard: 1,
  allocation: 0,
  optimal: 1024 * 1024,
});

/** Limits that suit most devices: 1024 pieces (the host's vector limit) and 1 GiB. */
export const DEFAULT_LIMITS: DeviceLimits = Object.freeze({ transfer: 1024 * 1024 * 1024, iovecs: 1024 });
