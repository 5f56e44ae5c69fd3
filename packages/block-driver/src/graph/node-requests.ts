import type { DeviceEvent } from "../contract/driver.ts";
import {
  type BlockDevice,
  type DeviceInfo,
  type IoOptions,
  type ResizeOptions,
  type StatusOptions,
  type WriteOptions,
  type ZeroOptions,
} from "../contract/device.ts";
import type { ExtentList } from "../contract/extents.ts";
import { iovLength, isPromise, type IoVec, type MaybePromise } from "../contract/io.ts";
import type { ZeroDetection } from "../contract/options.ts";
import { BlockError, toBlockError } from "../errors.ts";
import { deferred, type Deferred } from "../io/deferred.ts";
import { RangeLock } from "../io/range-lock.ts";
import { discardThrough, readThrough, writeThrough, writeZeroesThrough } from "../io/requests.ts";
import { isZero } from "../io/zero-page.ts";
import { DirtyBitmap, type DirtyBitmapInit } from "./dirty-bitmap.ts";

/**
 * The requests of one node: bounds and admission, the pipeline that suits them to the device, counting what is in flight,
 * marking dirty bitmaps, and refusing everything after a fatal failure.
 */
export class NodeRequests {
  readonly name: string;
  /** What becomes of writes of zeroes; may be changed at any time, for the writes that follow. */
  detectZeroes: ZeroDetection = "off";
  readonly #bitmaps = new Set<DirtyBitmap>();
  readonly #onIdle: () => void;
  readonly #widening = new RangeLock();
  readonly #events: DeviceEvent[] = [];
  #device: BlockDevice | undefined;
  #readOnly = false;
  /** The device's facts with `readOnly` set, kept as long as they are current. */
  #restricted: { readonly of: DeviceInfo; readonly info: DeviceInfo } | undefined;
  #fence: BlockError | undefined;
  #inFlight = 0;
  /** Resolved when the last request in flight has settled; closing waits for it. */
  #lastSettled: Deferred | undefined;

  /** `onIdle` is called whenever the last request in flight has ended. */
  constructor(name: string, onIdle: () => void) {
    this.name = name;
    this.#onIdle = onIdle;
  }

  /** Facts of the device; replaced as a whole when it is resized. */
  get info(): DeviceInfo {
    const { info } = this.device;
    if (!this.#readOnly || info.readOnly) return info;
    if (this.#restricted?.of !== info) this.#restricted = { of: info, info: { ...info, readOnly: true } };
    return this.#restricted.info;
  }

  /** Size in bytes. */
  get size(): number {
    return this.device.info.size;
  }

  /** Requests admitted and not yet settled. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** The device this node owns. Tools may look at it; I/O goes through edges. */
  get device(): BlockDevice {
    if (this.#device === undefined) {
      throw new BlockError("ESHUTDOWN", `node '${this.name}' is not open`, { node: this.name });
    }
    return this.#device;
  }

  /** False while the driver is still opening it, and after it was closed. */
  get isOpen(): boolean {
    return this.#device !== undefined;
  }

  /** What the device reported outside requests, oldest first. */
  get events(): readonly DeviceEvent[] {
    return this.#events;
  }

  /** The failure that closed this node to every request, if there was one. */
  get fence(): BlockError | undefined {
    return this.#fence;
  }

  /** The dirty bitmaps attached to this node. */
  get dirtyBitmaps(): ReadonlySet<DirtyBitmap> {
    return this.#bitmaps;
  }

  /**
   * Attaches a dirty bitmap that sees every write from now on. The caller removes it.
   * @throws BlockError `EEXIST` when a bitmap of that name exists; RangeError for a bad granularity.
   */
  createDirtyBitmap(init: DirtyBitmapInit): DirtyBitmap {
    if (init.name !== undefined) {
      for (const other of this.#bitmaps) {
        if (other.name === init.name) {
          throw new BlockError("EEXIST", `Bitmap already exists: ${init.name} on node '${this.name}'`, {
            node: this.name,
          });
        }
      }
    }
    const bitmap = new DirtyBitmap(this.size, init);
    this.#bitmaps.add(bitmap);
    return bitmap;
  }

  /**
   * Detaches a bitmap; it stops following writes, and a persistent one is gone from the image. No effect if it is not
   * attached.
   * @throws BlockError `EBUSY` while an operation uses it.
   */
  removeDirtyBitmap(bitmap: DirtyBitmap): void {
    if (bitmap.busy && this.#bitmaps.has(bitmap)) {
      throw new BlockError(
        "EBUSY",
        `dirty bitmap ${bitmap.label} of node '${this.name}' is in use by an operation; end that first`,
        { node: this.name },
      );
    }
    if (!this.#bitmaps.delete(bitmap) || !bitmap.persistent || bitmap.name === undefined) return;
    bitmap.persistent = false;
    this.#device?.bitmaps?.drop(bitmap.name);
  }

  /** See `BlockEdge.read`. */
  read(offset: number, into: IoVec, options?: IoOptions): MaybePromise<void> {
    const length = iovLength(into);
    this.#admit("read", offset, length, options);
    if (length === 0) return undefined;
    this.#inFlight += 1;
    try {
      const result = readThrough(this.device, offset, into, length, options);
      if (isPromise(result)) return result.then(this.#succeed, this.#fail);
    } catch (error) {
      return this.#fail(error);
    }
    return this.#succeed();
  }

  /** See `BlockEdge.write`. */
  write(offset: number, from: IoVec, options?: WriteOptions): MaybePromise<void> {
    const length = iovLength(from);
    this.#admitChange("write", offset, length, options);
    if (length === 0) return options?.fua === true ? this.flush(options) : undefined;
    if (this.detectZeroes !== "off" && from.every(isZero)) {
      return this.writeZeroes(offset, length, { ...options, unmap: this.detectZeroes === "unmap" });
    }
    return this.#change(offset, length, () =>
      writeThrough(this.device, offset, from, length, options, this.#widening),
    );
  }

  /** See `BlockEdge.writeZeroes`. */
  writeZeroes(offset: number, length: number, options?: ZeroOptions): MaybePromise<void> {
    this.#admitChange("writeZeroes", offset, length, options);
    if (length === 0) return undefined;
    return this.#change(offset, length, () =>
      writeZeroesThrough(this.device, offset, length, options, this.#widening),
    );
  }

  /** See `BlockEdge.discard`. */
  discard(offset: number, length: number, options?: IoOptions): MaybePromise<void> {
    this.#admitChange("discard", offset, length, options);
    if (length === 0) return undefined;
    return this.#change(offset, length, () =>
      discardThrough(this.device, offset, length, options, this.#widening),
    );
  }

  /** See `BlockEdge.flush`. */
  flush(options?: IoOptions): MaybePromise<void> {
    this.#admit("flush", 0, 0, options);
    if (this.device.flush === undefined || !this.info.can.flush) return undefined;
    this.#inFlight += 1;
    try {
      const result = this.device.flush(options);
      if (isPromise(result)) return result.then(this.#succeed, this.#fail);
    } catch (error) {
      return this.#fail(error);
    }
    return this.#succeed();
  }

  /** See `BlockEdge.resize`. Dirty bitmaps follow; new space counts as clean, since it reads as zeroes. */
  async resize(size: number, options?: ResizeOptions): Promise<void> {
    this.#admitChange("resize", 0, 0, options);
    if (!Number.isSafeInteger(size) || size < 0)
      throw new RangeError(`resize: ${size} is not a size in bytes`);
    const { device } = this;
    this.#mustBeResizable(device, size);
    for (const bitmap of this.#bitmaps) {
      if (bitmap.busy) {
        throw new BlockError(
          "EBUSY",
          `node '${this.name}' cannot be resized while its dirty bitmap ${bitmap.label} is in use`,
          { node: this.name, operation: "resize" },
        );
      }
    }
    this.#inFlight += 1;
    try {
      await device.resize?.(size, options);
    } catch (error) {
      throw toBlockError(error, { node: this.name, operation: "resize", length: size });
    } finally {
      // A device that failed half way has the size that it says.
      const now = device.info.size;
      for (const bitmap of this.#bitmaps) if (bitmap.bits.size !== now) bitmap.truncate(now);
      this.#end();
    }
  }

  #mustBeResizable(device: BlockDevice, size: number): void {
    const { info } = device;
    const context = { node: this.name, operation: "resize" };
    if (device.resize === undefined || info.can.resize === "no") {
      throw new BlockError(
        "ENOTSUP",
        `driver '${info.driver}' of node '${this.name}' cannot resize`,
        context,
      );
    }
    if (info.can.resize === "grow" && size < info.size) {
      throw new BlockError(
        "ENOTSUP",
        `driver '${info.driver}' of node '${this.name}' cannot shrink from ${info.size} to ${size} bytes`,
        context,
      );
    }
    const unit = Math.max(info.align.read, info.align.write);
    if (size % unit !== 0) {
      throw new BlockError(
        "EINVAL",
        `node '${this.name}' cannot have ${size} bytes: not a multiple of its block size ${unit}`,
        context,
      );
    }
  }

  /** See `BlockEdge.status`. Filters answer for the layer they filter. */
  status(offset: number, length: number, extents: ExtentList, options?: StatusOptions): MaybePromise<void> {
    this.#admit("status", offset, length, options);
    if (length === 0) {
      extents.reset(offset);
      return undefined;
    }
    this.#inFlight += 1;
    try {
      const result = this.device.status(offset, length, extents, options);
      if (isPromise(result)) return result.then(this.#succeed, this.#fail);
    } catch (error) {
      return this.#fail(error);
    }
    return this.#succeed();
  }

  /** Refuses every request from now on, because the state of the node is unknown. The first reason stays. */
  refuseFurther(cause: BlockError): void {
    this.#fence ??= new BlockError(
      "BLK_FENCED",
      `node '${this.name}' refuses requests since an earlier failure (${cause.message}); reopen it`,
      { node: this.name, cause },
    );
  }

  /** Keeps an event of the device and fences the node if it is fatal. */
  report(event: DeviceEvent): void {
    if (event.type === "corruption" && this.#events.some((earlier) => earlier.type === "corruption")) {
      if (event.fatal !== true) return;
    }
    this.#events.push(event);
    if (event.fatal === true) {
      this.refuseFurther(new BlockError("BLK_CORRUPT", event.message, { node: this.name }));
    }
  }

  /**
   * The graph's part: gives the node its device once the driver has opened it. `readOnly` restricts a device that could be
   * written to, such as a filter over a node that others write to.
   */
  own(device: BlockDevice, readOnly: boolean): void {
    this.#device = device;
    this.#readOnly = readOnly;
  }

  /** The graph's part: closes the device, once the requests that are in flight have settled. */
  async shut(): Promise<void> {
    const device = this.#device;
    this.#device = undefined;
    if (this.#inFlight > 0) {
      this.#lastSettled ??= deferred();
      await this.#lastSettled.promise;
    }
    await device?.close();
  }

  /** The graph's part: forgets the bitmaps that the image has stored, without taking them from the image. */
  forgetStoredBitmaps(): void {
    for (const bitmap of this.#bitmaps) if (bitmap.persistent) this.#bitmaps.delete(bitmap);
  }

  #change(offset: number, length: number, run: () => MaybePromise<void>): MaybePromise<void> {
    this.#inFlight += 1;
    try {
      const result = run();
      if (isPromise(result)) {
        return result.then(
          () => this.#changed(offset, length),
          (error: unknown) => {
            this.#markDirty(offset, length);
            return this.#fail(error);
          },
        );
      }
    } catch (error) {
      this.#markDirty(offset, length);
      return this.#fail(error);
    }
    this.#changed(offset, length);
    return undefined;
  }

  #changed(offset: number, length: number): void {
    this.#markDirty(offset, length);
    this.#end();
  }

  /**
   * Marked after the write has settled, and also when it failed: a copier that cleared the bit and read in between has
   * either read the new bytes or finds the range dirty again (mirror rule S2.6). A failed write may have written a part.
   */
  #markDirty(offset: number, length: number): void {
    const size = this.#device?.info.size;
    for (const bitmap of this.#bitmaps) {
      // Somebody else may have resized what this node filters; a write to the new part must not be missed.
      if (size !== undefined && bitmap.bits.size !== size) bitmap.truncate(size);
      // The node may have shrunk while the write was on its way.
      const inside = Math.min(length, bitmap.bits.size - offset);
      if (bitmap.enabled && inside > 0) bitmap.mark(offset, inside);
    }
  }

  readonly #succeed = (): void => {
    this.#end();
  };

  readonly #fail = (error: unknown): never => {
    this.#end();
    throw toBlockError(error, { node: this.name });
  };

  #end(): void {
    this.#inFlight -= 1;
    if (this.#inFlight > 0) return;
    this.#lastSettled?.resolve();
    this.#lastSettled = undefined;
    this.#onIdle();
  }

  #admitChange(operation: string, offset: number, length: number, options: IoOptions | undefined): void {
    this.#admit(operation, offset, length, options);
    if (this.info.readOnly) {
      throw new BlockError("EROFS", `${operation} refused: node '${this.name}' is open read-only`, {
        node: this.name,
        operation,
        offset,
        length,
      });
    }
  }

  #admit(operation: string, offset: number, length: number, options: IoOptions | undefined): void {
    if (this.#fence !== undefined) throw this.#fence;
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
      throw new RangeError(`${operation} on node '${this.name}': ${offset}+${length} is not a byte range`);
    }
    const { size } = this.device.info;
    if (offset > size || length > size - offset) {
      throw new BlockError(
        "EINVAL",
        `${operation} on node '${this.name}' at offset ${offset} (${length} bytes) ends beyond its ${size} bytes`,
        { node: this.name, operation, offset, length },
      );
    }
    if (options?.signal?.aborted === true) {
      throw new BlockError("ECANCELED", `${operation} on node '${this.name}' was cancelled`, {
        node: this.name,
        operation,
        offset,
        length,
      });
    }
  }
}
