import type {
  BlockChild,
  BlockDevice,
  IoOptions,
  ResizeOptions,
  WriteOptions,
  ZeroOptions,
} from "../contract/device.ts";
import { DRIVER_CONTRACT_VERSION, type BlockDriver } from "../contract/driver.ts";
import { ExtentFlag, ExtentList } from "../contract/extents.ts";
import { iovCopy, iovLength, iovSlice, isPromise, type IoVec, type MaybePromise } from "../contract/io.ts";
import { option, optionSchema, type ChildReference } from "../contract/options.ts";
import { BlockError } from "../errors.ts";
import { BlockEdge, type BlockNode } from "../graph/node.ts";
import { StatusResolver } from "../graph/resolve-status.ts";
import { backingChain } from "../graph/topology.ts";
import { PassThroughDevice } from "../io/pass-through.ts";
import { RangeLock } from "../io/range-lock.ts";
import { isZero } from "../io/zero-page.ts";

/** Options of the `copy-on-read` driver. */
export interface CopyOnReadOptions {
  /** The image that keeps what is read from below it. One that is open read-only keeps nothing. */
  readonly file: ChildReference;
  /**
   * Name of an image of the backing chain of `file`, or of `file` itself: what lies below it is not kept. Default: everything is
   * kept. When it leaves the chain, nothing is kept any more.
   */
  readonly bottom: string | undefined;
}

/**
 * A filter above an image with a backing file: what is read from below is kept in the image, so that it is read from
 * there only once. Content never changes; only where it is stored.
 *
 * Nobody may write to the image past the filter: a copy could undo such a write. The filter's claim refuses it.
 *
 * Limitations: dirty bitmaps of the image itself mark what is copied, for the image is written. Zeroes are not kept by an
 * image that records no backing file.
 */
export const copyOnReadDriver: BlockDriver<CopyOnReadOptions> = {
  name: "copy-on-read",
  kind: "filter",
  contractVersion: DRIVER_CONTRACT_VERSION,
  options: optionSchema({
    file: option.child("the image that keeps what is read from below it"),
    bottom: option.optionalString("name of the last image of the chain whose data are kept"),
  }),
  async open({ file, bottom }, context): Promise<BlockDevice> {
    const child = await context.openChild(file, "filtered", ["read", "write-unchanged"]);
    const limit = bottom === undefined ? undefined : new Bottom(child, bottom);
    return new CopyOnReadDevice(child, limit, (message) => context.report({ type: "warning", message }));
  },
};

/** The limit below which nothing is kept. */
class Bottom {
  readonly #child: BlockEdge;
  readonly #name: string;
  readonly #resolver: StatusResolver = new StatusResolver();

  /** @throws BlockError `EINVAL` when no image of that name is in the chain. */
  constructor(child: BlockChild, name: string) {
    // What a graph opens as a child is an edge of it; the chain behind it is the graph's matter and no driver's.
    if (!(child instanceof BlockEdge)) throw new TypeError("a bottom needs a child that is part of a graph");
    this.#child = child;
    this.#name = name;
    if (this.#find() === undefined) {
      throw new BlockError("EINVAL", `Bottom node '${name}' not found below '${child.node.name}'`, {
        operation: "open",
      });
    }
  }

  /** The parts of a range that images down to the limit hold. */
  async heldIn(offset: number, length: number): Promise<readonly (readonly [start: number, end: number])[]> {
    const bottom = this.#find();
    const above = bottom?.child("backing")?.node;
    if (bottom === undefined) return [];
    const held: [number, number][] = [];
    const extents = new ExtentList(STATUS_CAPACITY);
    const end = offset + length;
    for (let at = offset; at < end; at = extents.next) {
      await this.#resolver.resolve(
        this.#child.node,
        at,
        end - at,
        extents,
        above === undefined ? {} : { above },
      );
      for (let index = 0; index < extents.count; index += 1) {
        if ((extents.flagsAt(index) & ExtentFlag.Deferred) !== 0) continue;
        const start = extents.offsetAt(index);
        held.push([start, start + extents.lengthAt(index)]);
      }
    }
    return held;
  }

  #find(): BlockNode | undefined {
    return backingChain(this.#child.node).find((image) => image.name === this.#name);
  }
}

/** One step of a read that copies. Bounds the memory of a request and how long writers of the range wait. */
const MAX_STEP = 1024 * 1024;

/** Zeroes are looked for in pieces of this or of clusters, whichever is larger. */
const MIN_ZERO_UNIT = 4096;

/** Extents that one question is answered with; the rest is asked for again. */
const STATUS_CAPACITY = 128;

class CopyOnReadDevice extends PassThroughDevice {
  /**
   * Held over what is being copied and over every change. Without it a copy that has read the old content could overwrite
   * what was written since.
   */
  readonly #lock: RangeLock = new RangeLock();
  readonly #scratch: ExtentList = new ExtentList(STATUS_CAPACITY);
  readonly #bottom: Bottom | undefined;
  readonly #warn: (message: string) => void;
  #hasWarned = false;

  constructor(child: BlockChild, bottom: Bottom | undefined, warn: (message: string) => void) {
    super("copy-on-read", child);
    this.#bottom = bottom;
    this.#warn = warn;
  }

  override read(offset: number, into: IoVec, options?: IoOptions): MaybePromise<void> {
    const length = iovLength(into);
    if (this.child.info.readOnly) return super.read(offset, into, options);
    const asked = this.child.status(offset, length, this.#scratch);
    if (isPromise(asked)) return this.#readCopying(offset, into, length, options);
    // Whoever was asked synchronously has not been overtaken: the scratch list is still about this request.
    return isHeld(this.#scratch, offset + length)
      ? super.read(offset, into, options)
      : this.#readCopying(offset, into, length, options);
  }

  override write(offset: number, from: IoVec, options?: WriteOptions): Promise<void> {
    return this.#alone(offset, iovLength(from), () => super.write(offset, from, options));
  }

  override writeZeroes(offset: number, length: number, options?: ZeroOptions): Promise<void> {
    return this.#alone(offset, length, () => super.writeZeroes(offset, length, options));
  }

  override discard(offset: number, length: number, options?: IoOptions): Promise<void> {
    return this.#alone(offset, length, () => super.discard(offset, length, options));
  }

  override resize(size: number, options?: ResizeOptions): Promise<void> {
    return this.#alone(0, Number.MAX_SAFE_INTEGER, () => super.resize(size, options));
  }

  async #alone(offset: number, length: number, run: () => MaybePromise<void>): Promise<void> {
    if (length === 0) return run();
    const release = await this.#lock.acquire(offset, length);
    try {
      await run();
    } finally {
      release();
    }
  }

  async #readCopying(offset: number, into: IoVec, length: number, options?: IoOptions): Promise<void> {
    const end = offset + length;
    const unit = Math.max(1, this.child.info.align.allocation);
    const step = Math.max(unit, MAX_STEP);
    for (let at = offset; at < end;) {
      const start = at - (at % unit);
      const stop = Math.min(start + step, Math.ceil(end / unit) * unit, this.child.info.size);
      const piece = Buffer.allocUnsafeSlow(stop - start);
      await this.#alone(start, stop - start, () => this.#copyPiece(start, piece, options));
      const taken = Math.min(stop, end) - at;
      iovCopy([piece.subarray(at - start, at - start + taken)], iovSlice(into, at - offset, taken));
      at += taken;
    }
  }

  /** Reads one piece, and keeps what came from below. The caller holds the range. */
  async #copyPiece(start: number, piece: Buffer, options: IoOptions | undefined): Promise<void> {
    await this.child.read(start, [piece], options);
    const end = start + piece.byteLength;
    const extents = new ExtentList(STATUS_CAPACITY);
    for (let at = start; at < end; at = extents.next) {
      await this.child.status(at, end - at, extents);
      extents.clip(end);
      for (let index = 0; index < extents.count; index += 1) {
        if ((extents.flagsAt(index) & ExtentFlag.Deferred) === 0) continue;
        const from = extents.offsetAt(index);
        const length = extents.lengthAt(index);
        const parts = (await this.#bottom?.heldIn(from, length)) ?? [[from, from + length]];
        for (const [first, stop] of parts) {
          await this.#keep(first, piece.subarray(first - start, stop - start));
        }
      }
    }
  }

  /** Keeps what was read, clusters of zeroes as such. */
  async #keep(offset: number, bytes: Buffer): Promise<void> {
    const { info } = this.child;
    const unit = Math.max(MIN_ZERO_UNIT, info.align.allocation);
    for (let at = 0; at < bytes.byteLength;) {
      const zero = isZero(bytes.subarray(at, at + unit));
      let end = at + unit;
      while (end < bytes.byteLength && isZero(bytes.subarray(end, end + unit)) === zero) end += unit;
      const run = bytes.subarray(at, end);
      // An image that stands on nothing reads as zeroes anyway.
      if (!zero || info.namedBacking !== undefined) await this.#keepRun(offset + at, run, zero);
      at = end;
    }
  }

  async #keepRun(offset: number, bytes: Buffer, zero: boolean): Promise<void> {
    try {
      if (zero) await this.child.writeZeroes(offset, bytes.byteLength);
      else await this.child.write(offset, [bytes]);
    } catch (error) {
      // What was asked for has been read: that the image could not keep it is no failure of the reader's.
      if (this.#hasWarned) return;
      this.#hasWarned = true;
      this.#warn(`what is read is not kept: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}

/** Whether the image holds all of a range that ends at `end`. */
function isHeld(extents: ExtentList, end: number): boolean {
  if (extents.next < end) return false;
  for (let index = 0; index < extents.count; index += 1) {
    if (extents.offsetAt(index) >= end) return true;
    if ((extents.flagsAt(index) & ExtentFlag.Deferred) !== 0) return false;
  }
  return true;
}
