import { HBitmap } from "@blockmirror/hbitmap";

/** Limits of a dirty bitmap's granularity in bytes: QEMU's, a power of two from 512 bytes to 64 MiB for a mirror. */
export const MIN_BITMAP_GRANULARITY = 512;
/** Largest granularity in bytes that a bitmap can have: 2 GiB, as the qcow2 format can store. */
export const MAX_BITMAP_GRANULARITY: number = 2 ** 31;
/** What users get who do not say: 64 KiB. */
export const DEFAULT_BITMAP_GRANULARITY = 65536;

/** Shape of a new {@link DirtyBitmap}. */
export interface DirtyBitmapInit {
  /** Users find it by name; a private bitmap has none. 1..1023 bytes. */
  readonly name?: string;
  /** Bytes per bit: a power of two, 512 B..2 GiB. Default 64 KiB. */
  readonly granularity?: number;
  /** False starts it without following writes. Default true. */
  readonly enabled?: boolean;
}

/**
 * Which chunks of a node were written. Attached to a node it marks every write, zero write and discard that passes there,
 * whether it succeeded or not, rounded outwards to chunks.
 */
export class DirtyBitmap {
  readonly name: string | undefined;
  /** The bits, in bytes of the node. Clearing through it is the owner's business. */
  readonly bits: HBitmap;
  /** Whether writes are followed. */
  enabled: boolean;
  /** Grows with every mark: a copier that saw it unchanged knows that nothing was written in between. */
  generation = 0;
  /** Used by an operation: it must not be removed, and its node must not be resized. */
  busy = false;
  /** The image of its node stores it; see `keepDirtyBitmap`. */
  persistent = false;

  constructor(size: number, init: DirtyBitmapInit) {
    const { name, granularity = DEFAULT_BITMAP_GRANULARITY, enabled = true } = init;
    if (name !== undefined && (name === "" || Buffer.byteLength(name) > 1023)) {
      throw new RangeError("the name of a dirty bitmap has 1 to 1023 bytes");
    }
    if (
      !Number.isSafeInteger(granularity) ||
      granularity < MIN_BITMAP_GRANULARITY ||
      granularity > MAX_BITMAP_GRANULARITY ||
      !Number.isInteger(Math.log2(granularity))
    ) {
      throw new RangeError(
        `the granularity of a dirty bitmap is a power of two, 512 B..2 GiB, not ${granularity}`,
      );
    }
    this.name = name;
    this.enabled = enabled;
    this.bits = new HBitmap({ size, granularity });
  }

  /** For messages. */
  get label(): string {
    return this.name === undefined ? "of an operation" : `'${this.name}'`;
  }

  /** Bytes per bit. */
  get granularity(): number {
    return this.bits.granularity;
  }

  /** Dirty bytes, whole chunks; the last chunk never counts beyond the end of the node. */
  get dirtyBytes(): number {
    const { count, size } = this.bits;
    if (count === 0) return 0;
    const overshoot = size % this.granularity;
    return overshoot !== 0 && this.bits.get(size - 1) ? count - this.granularity + overshoot : count;
  }

  /** Marks the chunks that `[offset, offset + length)` touches. */
  mark(offset: number, length: number): void {
    this.generation += 1;
    this.bits.set(offset, length);
  }

  /** Follows its node to a new size; new chunks are clean. */
  truncate(size: number): void {
    this.bits.truncate(size);
  }
}
