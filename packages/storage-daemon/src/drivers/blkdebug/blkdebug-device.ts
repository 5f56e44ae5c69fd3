import {
  BlockError,
  iovLength,
  PassThroughDevice,
  type BlockChild,
  type DeviceInfo,
  type ExtentList,
  type IoOptions,
  type IoVec,
  type MaybePromise,
  type StatusOptions,
  type WriteOptions,
  type ZeroOptions,
} from "@blockmirror/block-driver";
import type { BlkdebugEvent, BlkdebugIoType, BlkdebugRules } from "./rules.ts";

/** Limits of requests in bytes; 0 = none. */
export interface BlkdebugLimits {
  readonly align: number;
  readonly maxTransfer: number;
  readonly optWriteZero: number;
  readonly maxWriteZero: number;
  readonly optDiscard: number;
  readonly maxDiscard: number;
}

/** A piece of a request that is cut at a device's limits. */
interface Piece {
  readonly offset: number;
  readonly length: number;
  /** It begins and ends where the device likes it. */
  readonly isAligned: boolean;
}

/** A device on which the rules of `blkdebug` strike, with the limits that it is told to have. */
export class BlkdebugDevice extends PassThroughDevice {
  readonly #rules: BlkdebugRules;
  readonly #limits: BlkdebugLimits;
  #seen: DeviceInfo | undefined;
  #limited: DeviceInfo | undefined;

  constructor(child: BlockChild, rules: BlkdebugRules, limits: BlkdebugLimits) {
    super("blkdebug", child);
    this.#rules = rules;
    this.#limits = limits;
  }

  override get info(): DeviceInfo {
    const below = super.info;
    if (this.#limited !== undefined && this.#seen === below) return this.#limited;
    const { align, maxTransfer } = this.#limits;
    const { align: aligned, max } = below;
    this.#seen = below;
    this.#limited = {
      ...below,
      align: align === 0 ? aligned : { ...aligned, read: align, write: align, zero: align, discard: align },
      max: maxTransfer === 0 ? max : { ...max, transfer: maxTransfer },
    };
    return this.#limited;
  }

  override read(offset: number, into: IoVec, options?: IoOptions): MaybePromise<void> {
    this.#strike(["read_aio"], "read", offset, iovLength(into));
    return super.read(offset, into, options);
  }

  override async write(offset: number, from: IoVec, options?: WriteOptions): Promise<void> {
    try {
      this.#strike(["pwritev", "write_aio"], "write", offset, iovLength(from));
      await super.write(offset, from, options);
    } finally {
      this.#rules.reach("pwritev_done");
    }
  }

  override async writeZeroes(offset: number, length: number, options: ZeroOptions = {}): Promise<void> {
    const { optWriteZero, maxWriteZero } = this.#limits;
    try {
      this.#rules.reach("pwritev_zero");
      for (const piece of cut(offset, length, optWriteZero, maxWriteZero)) {
        // What is too small to be zeroed is written.
        this.#strike([], piece.isAligned ? "write-zeroes" : "write", piece.offset, piece.length);
        await super.writeZeroes(piece.offset, piece.length, options);
      }
    } finally {
      this.#rules.reach("pwritev_done");
    }
  }

  override async discard(offset: number, length: number, options?: IoOptions): Promise<void> {
    const { optDiscard, maxDiscard } = this.#limits;
    for (const piece of cut(offset, length, optDiscard, maxDiscard)) {
      this.#strike([], "discard", piece.offset, piece.length);
      await super.discard(piece.offset, piece.length, options);
    }
  }

  override flush(options?: IoOptions): MaybePromise<void> {
    this.#strike(["flush_to_os", "flush_to_disk"], "flush", 0, 0);
    return super.flush(options);
  }

  override status(
    offset: number,
    length: number,
    extents: ExtentList,
    options?: StatusOptions,
  ): MaybePromise<void> {
    this.#strike([], "block-status", offset, length);
    return super.status(offset, length, extents, options);
  }

  /** @throws BlockError when a rule says so. */
  #strike(events: readonly BlkdebugEvent[], ioType: BlkdebugIoType, offset: number, length: number): void {
    for (const event of events) this.#rules.reach(event);
    const error = this.#rules.judge(ioType, offset, length);
    if (error === undefined) return;
    throw new BlockError(error, `injected ${error} on ${ioType} at offset ${offset} (${length} bytes)`, {
      operation: ioType,
      offset,
      length,
    });
  }
}

/** Cuts a range: up to the next multiple of `unit`, then whole units, at most `most` bytes each, then the rest. */
function cut(offset: number, length: number, unit: number, most: number): Piece[] {
  const step = unit === 0 ? 1 : unit;
  const largest = most === 0 ? length : Math.max(step, most - (most % step));
  const end = offset + length;
  const pieces: Piece[] = [];
  for (let at = offset; at < end;) {
    const toUnit = (step - (at % step)) % step;
    const whole = Math.min(largest, end - at - ((end - at) % step));
    const isAligned = toUnit === 0 && whole > 0;
    const size = isAligned ? whole : Math.min(toUnit === 0 ? end - at : toUnit, end - at);
    pieces.push({ offset: at, length: size, isAligned });
    at += size;
  }
  return pieces;
}
