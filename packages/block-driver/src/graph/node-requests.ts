import type { DeviceEvent } from "../contract/driver.ts";
import {
  type BlockDevice,
  type Borrower,
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
import type { DirtyBitmap, DirtyBitmapInit } from "./dirty-bitmap.ts";
import { NodeBitmaps } from "./node-bitmaps.ts";
import { mustBeResizable, mustFit, readOnlyRefusal } from "./request-checks.ts";
import { WriteWatch } from "./write-watch.ts";

/**
 * The requests of one node: bounds and admission, the pipeline that suits them to the device, counting what is in flight,
 * marking dirty bitmaps, and refusing everything after a fatal failure.
 */
export class NodeRequests {
  readonly name: string;
  /** What becomes of writes of zeroes; may be changed at any time, for the writes that follow. */
  detectZeroes: ZeroDetection = "off";
  /** How far it has been written to. */
  readonly writes: WriteWatch = new WriteWatch();
  readonly #bitmaps: NodeBitmaps;
  readonly #onEvent: (event: DeviceEvent) => void;
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

  /**
   * `onIdle` is called whenever the last request in flight has ended, `onEvent` when the device reports what is kept in
   * `events`.
   */
  constructor(name: string, onIdle: () => void, onEvent: (event: DeviceEvent) => void) {
    this.name = name;
    this.#bitmaps = new NodeBitmaps(name);
    this.#onEvent = onEvent;
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

  /** Requests admitted and not yet settled, and what the device does by itself. */
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
    return this.#bitmaps.all;
  }

  /**
   * Attaches a dirty bitmap that sees every write from now on. The caller removes it.
   * @throws BlockError `EEXIST` when a bitmap of that name exists; RangeError for a bad granularity.
   */
  createDirtyBitmap(init: DirtyBitmapInit): DirtyBitmap {
    return this.#bitmaps.create(this.size, init);
  }

  /**
   * Detaches a bitmap; it stops following writes, and a persistent one is gone from the image. No effect if it is not
   * attached.
   * @throws BlockError `EBUSY` while an operation uses it.
   */
  removeDirtyBitmap(bitmap: DirtyBitmap): void {
    if (!this.#bitmaps.remove(bitmap) || !bitmap.persistent || bitmap.name === undefined) return;
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
    this.writes.note(offset + length);
    return this.#change(offset, length, () =>
      writeThrough(this.device, offset, from, length, options, this.#widening),
    );
  }

  /** See `BlockEdge.writeZeroes`. */
  writeZeroes(offset: number, length: number, options?: ZeroOptions): MaybePromise<void> {
    this.#admitChange("writeZeroes", offset, length, options);
    if (length === 0) return undefined;
    this.writes.note(offset + length);
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

  /** See `BlockEdge.lend`. */
  lend(offset: number, length: number, borrow: Borrower): MaybePromise<number> {
    this.#admit("lend", offset, length, undefined);
    const { device } = this;
    if (length === 0 || !device.info.can.lend) return 0;
    this.#inFlight += 1;
    try {
      const result = device.lend?.(offset, length, borrow) ?? 0;
      if (isPromise(result)) return result.finally(this.#succeed);
      this.#end();
      return result;
    } catch (error) {
      return this.#fail(error);
    }
  }

  /** See `BlockEdge.copyRange`. Dirty bitmaps see the whole range: what was not copied is unknown. */
  copyRange(
    offset: number,
    storage: BlockDevice,
    sourceOffset: number,
    length: number,
  ): MaybePromise<number> {
    return this.#copy(offset, length, (device) => device.copyRange?.(offset, storage, sourceOffset, length));
  }

  /** See `BlockEdge.copyFrom`. */
  copyFrom(offset: number, source: NodeRequests, sourceOffset: number, length: number): MaybePromise<number> {
    return this.#copy(offset, length, (device) =>
      source.lend(sourceOffset, length, (storage, at, lent) =>
        lent > 0 ? (device.copyRange?.(offset, storage, at, lent) ?? 0) : 0,
      ),
    );
  }

  /** See `BlockEdge.resize`. Dirty bitmaps follow; new space counts as clean, since it reads as zeroes. */
  async resize(size: number, options?: ResizeOptions): Promise<void> {
    this.#admitChange("resize", 0, 0, options);
    if (!Number.isSafeInteger(size) || size < 0)
      throw new RangeError(`resize: ${size} is not a size in bytes`);
    const { device } = this;
    mustBeResizable(this.name, device, size);
    this.#bitmaps.mustBeResizable();
    this.#inFlight += 1;
    try {
      await device.resize?.(size, options);
    } catch (error) {
      throw toBlockError(error, { node: this.name, operation: "resize", length: size });
    } finally {
      // A device that failed half way has the size that it says.
      this.#bitmaps.truncate(device.info.size);
      this.#end();
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

  /** See `OpenContext.beginWork`. */
  beginWork(): () => void {
    this.#inFlight += 1;
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      this.#end();
    };
  }

  /** Refuses every request from now on, because the state of the node is unknown. The first reason stays. */
  refuseFurther(cause: BlockError): void {
    this.#fence ??= new BlockError(
      "BLK_FENCED",
      `node '${this.name}' refuses requests since an earlier failure (${cause.message}); end what uses it, close it and open it again`,
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
    this.#onEvent(event);
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
    this.#bitmaps.forgetStored();
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

  #copy(
    offset: number,
    length: number,
    run: (device: BlockDevice) => MaybePromise<number> | undefined,
  ): MaybePromise<number> {
    this.#admitChange("copyRange", offset, length, undefined);
    const { device } = this;
    // Looking for zeroes, or widening to a block, needs the bytes.
    const whole = this.detectZeroes === "off" && device.info.align.write === 1;
    if (length === 0 || !whole || !device.info.can.copyRange) return 0;
    this.writes.note(offset + length);
    let copied = 0;
    const done = this.#change(offset, length, () => {
      const result = run(device) ?? 0;
      if (isPromise(result)) return result.then((bytes) => void (copied = bytes));
      copied = result;
      return undefined;
    });
    return isPromise(done) ? done.then(() => copied) : copied;
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
    this.#bitmaps.mark(offset, length, this.#device?.info.size);
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
    if (this.info.readOnly) throw readOnlyRefusal(this.name, operation, offset, length);
  }

  #admit(operation: string, offset: number, length: number, options: IoOptions | undefined): void {
    if (this.#fence !== undefined) throw this.#fence;
    mustFit(this.name, this.device.info.size, operation, offset, length, options);
  }
}
